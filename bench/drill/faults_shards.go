package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

const (
	// shardDownFor is how long a data shard does not answer.
	shardDownFor = 8 * time.Second
	// knownDown is how soon that is known to whoever asks.
	knownDown = 2 * time.Second
	// observers are players of the scenario's own, on all data shards.
	observers = 24
)

func twoDataShards(o *stack.Options) { o.Data = 2 }

// stopShard stops all servers of the second data shard for a while.
func stopShard(ctx context.Context, d *drill) error {
	o, err := observe(ctx, d)
	if err != nil {
		return err
	}
	defer o.leave()
	here, there, err := o.divide(ctx, d.stack.Redis, d.stack.Keys())
	if err != nil {
		return err
	}
	name := stack.DataShard(1)
	d.say("all servers of %s stand still for %v; %d of %d observers are there", name, shardDownFor, len(there), observers)
	calls := callBoth(ctx, d.backend, here, there)
	ready := d.readiness.watch(ctx, "/readyz", d.stack.API.URLs()[0])
	d.faultAt = time.Now()
	err = hangServers(ctx, shardDownFor, d.stack.Redis.Servers(name))
	over := time.Now()
	d.say("they go on")
	if err == nil {
		err = pause(ctx, d.opts.After/2)
	}
	known := d.faultAt.Add(knownDown + d.stalls.longest())
	o.checkServed(between(calls.up.end(), d.faultAt, over), 0)
	o.checkMixed(during(calls.mixed.end(), known, over))
	d.judge.checkRefused(during(calls.down.end(), known, over))
	d.judge.checkRefused(during(calls.stored.end(), known, over))
	d.readiness.checkDegraded(during(ready.end(), known, over))
	for _, w := range []*watch{calls.up, calls.down, calls.mixed, calls.stored} {
		d.judge.checkRefusals(w.soFar())
	}
	return err
}

// shardCalls are the calls made while one of two data shards is down.
type shardCalls struct {
	up, down, mixed *watch // for users of the one, of the other, of both
	stored          *watch // for users of both, to be kept
}

// callBoth starts the calls for users here, whose shard stays up, and there.
func callBoth(ctx context.Context, b *backend, here, there []hub.UserID) shardCalls {
	one := func(users []hub.UserID, n int) hub.UserID { return users[n%len(users)] }
	ask := func(what string, p func(n int) post) *watch {
		return b.watchPosts(ctx, what, 50*time.Millisecond, p)
	}
	return shardCalls{
		up:   ask("to the other shard", func(n int) post { return post{Users: []hub.UserID{one(here, n)}, Data: keepsake{N: n}} }),
		down: ask("to the shard that is down", func(n int) post { return post{Users: []hub.UserID{one(there, n)}} }),
		mixed: ask("to both", func(n int) post {
			return post{Users: []hub.UserID{one(here, n), one(there, n)}, Data: keepsake{N: mixedFrom + n}}
		}),
		stored: ask("stored for both", func(n int) post {
			return post{Users: []hub.UserID{one(here, n), one(there, n)}, Store: keepFor}
		}),
	}
}

// audience are observers and what they have read.
type audience struct {
	judge

	hangUp  context.CancelFunc
	running sync.WaitGroup
	conns   map[hub.UserID]*client.Conn

	mu   sync.Mutex
	read map[int]int // how often, by number
}

// observe connects the observers.
func observe(ctx context.Context, d *drill) (*audience, error) {
	ctx, hangUp := context.WithCancel(ctx)
	o := &audience{judge: d.judge, hangUp: hangUp, conns: make(map[hub.UserID]*client.Conn), read: make(map[int]int)}
	for i := range observers {
		u := hub.UserID(fmt.Sprintf("observer%d", i))
		c, err := d.newcomers.dial(ctx, string(u))
		if err != nil {
			o.leave()
			return nil, fmt.Errorf("connect an observer: %w", err)
		}
		o.conns[u] = c
		o.running.Go(func() { o.listen(ctx, c) })
	}
	return o, nil
}

func (o *audience) listen(ctx context.Context, c *client.Conn) {
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			return
		}
		var k keepsake
		if m.Notification != nil && json.Unmarshal(m.Notification.Data, &k) == nil {
			o.mu.Lock()
			o.read[k.N]++
			o.mu.Unlock()
		}
	}
}

// leave ends the observers' connections in good order.
func (o *audience) leave() {
	for _, c := range o.conns {
		_ = c.Close() // they leave, however
	}
	o.hangUp()
	o.running.Wait()
}

func (o *audience) users() (users []hub.UserID) {
	for u := range o.conns {
		users = append(users, u)
	}
	slices.Sort(users)
	return users
}

// heard counts the different notifications read with numbers in a range.
func (o *audience) heard(from, to int) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for k := range o.read {
		if k >= from && k < to {
			n++
		}
	}
	return n
}

// divide says who of them is on the first data shard, and who on the second.
func (o *audience) divide(ctx context.Context, servers *stack.Redis, keys hub.Keys) (here, there []hub.UserID, err error) {
	users := o.users()
	err = atMaster(ctx, servers, stack.DataShard(1), func(c *redis.Client) error {
		for _, u := range users {
			n, err := c.Exists(ctx, keys.User(u)).Result()
			if err != nil {
				return fmt.Errorf("look %s up: %w", u, err)
			}
			if n == 1 {
				there = append(there, u)
			} else {
				here = append(here, u)
			}
		}
		return nil
	})
	if err == nil && (len(here) == 0 || len(there) == 0) {
		err = fmt.Errorf("all %d observers are on one data shard", len(users))
	}
	return here, there, err
}

// mixedFrom sets the numbers of what names observers of both shards apart.
const mixedFrom = 1_000_000

// checkServed wants that every notification was accepted and read.
func (o *audience) checkServed(answers []answer, from int) {
	o.judge.checkAll("notified on the shard that is up", answers)
	o.checkHeard("on the shard that is up", len(answers), from)
}

// checkMixed wants that notifications were accepted for the one observer and
// told unavailable for the other.
func (o *audience) checkMixed(answers []answer) {
	o.judge.checkAll("notified on both shards", answers)
	wrong := 0
	var example answer
	for _, a := range answers {
		var reply struct{ Targets, Online, Unavailable int }
		if a.ok() && (a.parse(&reply) != nil || reply.Unavailable != 1 || reply.Online != 1) {
			wrong, example = wrong+1, a
		}
	}
	if wrong > 0 {
		o.result.breaks("%d of %d answers to mixed requests did not count one user online and one unavailable: %v", wrong, len(answers), example)
	}
	o.checkHeard("on both shards", len(answers), mixedFrom)
}

// checkHeard wants that as many notifications were read as were posted in the
// fault, at the least.
func (o *audience) checkHeard(what string, posted, from int) {
	if heard := o.heard(from, from+mixedFrom); heard < posted {
		o.result.breaks("of %d notifications to observers %s, only %d were read", posted, what, heard)
	}
}
