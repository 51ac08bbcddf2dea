package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

const (
	// busyFor is how long a replica is busy with a script, rightlessFor how
	// long a right is taken away.
	busyFor      = 3 * time.Second
	rightlessFor = 4 * time.Second
)

// busyScript keeps a server busy for so many milliseconds.
const busyScript = `
local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
local till = now() + ARGV[1]
while now() < till do end
return 1`

// refuseCommands has servers answer with refusals of several classes.
func refuseCommands(ctx context.Context, d *drill) error {
	ready := d.readiness.watch(ctx, "/readyz", d.stack.API.URLs()[0])
	posts := d.backend.watchPosts(ctx, "post", 20*time.Millisecond, awayPost)
	named := d.backend.watchPosts(ctx, "post with id", 50*time.Millisecond, namedPost)
	stores := d.backend.watchPosts(ctx, "store", 50*time.Millisecond, storePost)
	d.faultAt = time.Now()
	if err := keepBusy(ctx, d); err != nil {
		return err
	}
	busyUntil := time.Now()
	d.judge.checkAll("posted while a replica was busy", between(posts.soFar(), d.faultAt, busyUntil))
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	// Without MGET nothing can be looked up. What one pub/sub shard refuses the
	// other carries, so that the API may be ready.
	if err := takeRight(ctx, d, "mget", stack.DataMaster, ready, http.StatusServiceUnavailable); err != nil {
		return err
	}
	if err := takeRight(ctx, d, "publish", stack.ShardMaster(shard), ready, http.StatusServiceUnavailable, http.StatusOK); err != nil {
		return err
	}
	d.readiness.wait(ctx, "the API", d.stack.API.URLs()[0], forgotten)
	for _, w := range []*watch{posts, named, stores} {
		answers := w.end()
		d.say("%s: %v", answers[0].what, count(answers))
		d.judge.checkRefusals(answers)
	}
	return nil
}

// keepBusy keeps one data replica busy with a script.
func keepBusy(ctx context.Context, d *drill) error {
	replicas, err := d.stack.Redis.Replicas(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	d.say("data replica %s is busy with a script for %v", replicas[0].Addr(), busyFor)
	c := redis.NewClient(&redis.Options{Addr: replicas[0].Addr(), Protocol: 2, MaxRetries: -1, ReadTimeout: 2 * busyFor})
	defer c.Close()
	if err := c.ConfigSet(ctx, "lua-time-limit", "50").Err(); err != nil {
		return fmt.Errorf("have %s say that it is busy: %w", replicas[0].Addr(), err)
	}
	// A Sentinel that finds a busy server down kills the script.
	if err := c.Do(ctx, "EVAL", busyScript, 0, busyFor.Milliseconds()).Err(); err != nil && !strings.Contains(err.Error(), "SCRIPT KILL") {
		return fmt.Errorf("keep %s busy: %w", replicas[0].Addr(), err)
	}
	return nil
}

// takeRight takes the right to a command away from everybody at the servers of
// a shard, for a while, and wants the API to say so.
func takeRight(ctx context.Context, d *drill, command, shard string, ready *watch, status ...int) error {
	servers := d.stack.Redis.Servers(shard)
	d.say("nobody may call %s at the servers of %s for %v", command, shard, rightlessFor)
	taken := time.Now()
	err := setRights(ctx, servers, "-"+command)
	if err == nil {
		err = pause(ctx, rightlessFor)
	}
	given := time.Now()
	if e := setRights(ctx, servers, "+"+command); err != nil || e != nil {
		return errors.Join(err, e)
	}
	d.readiness.checkNames(between(ready.soFar(), taken.Add(2*time.Second), given), status, command)
	return pause(ctx, regroup)
}

func setRights(ctx context.Context, servers []*redisproc.Server, rule string) (err error) {
	ctx = context.WithoutCancel(ctx) // what is taken is given back
	for _, srv := range servers {
		c := srv.Client()
		if e := c.Do(ctx, "ACL", "SETUSER", "default", rule).Err(); e != nil {
			err = fmt.Errorf("%s at %s: %w", rule, srv.Addr(), e)
		}
		c.Close()
	}
	return err
}
