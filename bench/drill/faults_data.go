package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
)

const (
	// A replica is a little behind for a while, as is ordinary, and then far.
	littleLag    = 50 * time.Millisecond
	littleLagFor = 6 * time.Second
	farLag       = 4 * time.Second
	farLagFor    = 10 * time.Second
	// heardWithin is how soon a player must hear what was accepted after its
	// hello.
	heardWithin = time.Second
)

// proxiedData puts a proxy before each data server.
func proxiedData(o *stack.Options) {
	o.Place = func(r *redisproc.ServerOptions) { r.Proxied = strings.HasPrefix(r.Name, stack.DataMaster+"-") }
}

// lagReplica delays what one data replica gets from its master. Meanwhile
// players connect who are notified at once, and who are disconnected at once.
func lagReplica(ctx context.Context, d *drill) error {
	master, err := d.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	replicas, err := d.stack.Redis.Replicas(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	stores := d.backend.watchPosts(ctx, "store", 100*time.Millisecond, storePost)
	g := &greeter{d.backend, d.newcomers}
	late := watching(ctx, 20*time.Millisecond, g.notified)
	banned := watching(ctx, 100*time.Millisecond, g.banned)
	for _, step := range []struct{ lag, length time.Duration }{{littleLag, littleLagFor}, {farLag, farLagFor}, {0, regroup}} {
		d.say("data replica %s is %v behind", replicas[0].Addr(), step.lag)
		master.Proxy().SetDelay(step.lag, replicas[0].Addr())
		if err = pause(ctx, step.length); err != nil {
			break
		}
	}
	master.Proxy().SetDelay(0, replicas[0].Addr())
	d.judge.checkAll("notified right after hello", late.end())
	d.judge.checkAll("disconnected right after hello", banned.end())
	d.judge.checkAll("stored", stores.end())
	return err
}

// greeter calls for players as soon as they have connected.
type greeter struct {
	backend   *backend
	newcomers *newcomers
}

// notified connects a player and wants a notification that is sent
// right after hello to be read.
func (g *greeter) notified(ctx context.Context, n int) answer {
	return g.newcomers.meet(ctx, fmt.Sprintf("late%d", n), func(ctx context.Context, c *client.Conn, u hub.UserID) answer {
		a := g.backend.notify(ctx, "notify after hello", n, post{Users: []hub.UserID{u}, Data: keepsake{N: n}})
		if !a.ok() {
			return a
		}
		m, err := c.Receive(ctx)
		if err == nil && m.Notification == nil {
			err = fmt.Errorf("%w: %s", errNotHeard, m.Raw)
		}
		return heard(a, err)
	})
}

// banned connects a player and wants the connection ended that is
// disconnected right after hello.
func (g *greeter) banned(ctx context.Context, n int) answer {
	return g.newcomers.meet(ctx, fmt.Sprintf("banned%d", n), func(ctx context.Context, c *client.Conn, u hub.UserID) answer {
		apis := g.backend.apis
		a := g.backend.call(ctx, "disconnect after hello", http.MethodDelete, apis[n%len(apis)]+"/users/"+url.PathEscape(string(u))+"/connections", nil)
		if !a.ok() {
			return a
		}
		_, err := c.Receive(ctx)
		if client.CloseCode(err) != 0 {
			err = nil // as it should be
		} else if err == nil {
			err = errNotClosed
		}
		return heard(a, err)
	})
}

var (
	errNotHeard  = errors.New("something else was read")
	errNotClosed = errors.New("the connection goes on")
)

// heard is a, failed if err says that the client did not see what it should.
func heard(a answer, err error) answer {
	if err != nil {
		a.status, a.err = 0, fmt.Errorf("accepted (%s), and the client: %w", a.body, err)
	}
	return a
}

const (
	// failovers is how many planned failovers are made in a row.
	failovers = 3
	// answeredWithin is how soon after each posts and connects must be
	// answered again.
	answeredWithin = 2500 * time.Millisecond
	// shortFailovers is what Sentinels are told: how long an attempt may take.
	shortFailovers = 3 * time.Second
)

func quickFailovers(o *stack.Options) { o.FailoverTimeout = shortFailovers }

// planFailovers has Sentinel replace the data master, again and again.
func planFailovers(ctx context.Context, d *drill) error {
	plain, named := newVault(d, "keeper", 40, false), newVault(d, "savekeeper", 40, true)
	watches := map[string]*watch{
		"post":          d.backend.watchPosts(ctx, "post", 50*time.Millisecond, awayPost),
		"post with id":  d.backend.watchPosts(ctx, "post with id", 50*time.Millisecond, namedPost),
		"store":         plain.fill(ctx, 10*time.Millisecond),
		"store with id": named.fill(ctx, 20*time.Millisecond),
		"connect":       d.newcomers.watch(ctx),
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	d.faultAt = time.Now()
	var began []time.Time
	for range failovers {
		began = append(began, time.Now())
		if err := d.operator.failover(ctx, stack.DataMaster); err != nil {
			return err
		}
		if err := pause(ctx, regroup); err != nil {
			return err
		}
	}
	for what, w := range watches {
		d.judge.checkFailovers(what, w.end(), began)
	}
	return errors.Join(plain.open(ctx), named.open(ctx))
}

const (
	// fullFor is how long data Redis is full.
	fullFor = 8 * time.Second
	// headroom is what is left to fill, and fillSize the size of what fills it.
	headroom = 2 << 20
	fillSize = 48 << 10
	// forgotten is how long a server may say that something was refused after
	// nothing is any more.
	forgotten = 20 * time.Second
)

// fillRedis fills the data master up to its watermark with what is stored for
// users who are away, and makes space later. Players come and go meanwhile, and
// /readyz says degraded.
func fillRedis(ctx context.Context, d *drill) error {
	d.faultAt = time.Now()
	addr, err := d.limitMemory(ctx)
	if err != nil {
		return err
	}
	ready := d.readiness.watch(ctx, "/readyz", d.stack.API.URLs()[0])
	plain := d.backend.watchPosts(ctx, "post", 50*time.Millisecond, awayPost)
	stores := d.backend.watchPosts(ctx, "store", 10*time.Millisecond, fillPost)
	full, err := d.waitRefused(ctx, stores)
	if err == nil {
		err = pause(ctx, fullFor)
	}
	if e := d.setMemory(ctx, 0); err != nil || e != nil {
		return errors.Join(err, e)
	}
	d.say("there is space again: refused stores %v", count(stores.soFar()))
	spaceAt := time.Now()
	d.readiness.wait(ctx, "the API", d.stack.API.URLs()[0], forgotten)
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	all := stores.end()
	d.judge.checkAll("posted while Redis was full", between(plain.end(), full, spaceAt))
	d.judge.checkRefusals(all)
	d.judge.checkAll("stored after there was space", between(all, spaceAt.Add(time.Second), time.Now()))
	d.readiness.checkNames(between(ready.end(), full.Add(2*time.Second), spaceAt), []int{http.StatusOK}, addr)
	return nil
}

func fillPost(n int) post {
	p := storePost(n)
	p.Data = strings.Repeat("x", fillSize)
	return p
}

// limitMemory leaves the data master little memory, and returns its address.
func (d *drill) limitMemory(ctx context.Context) (addr string, err error) {
	srv, err := d.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return "", err
	}
	c := srv.Client()
	defer c.Close()
	info, err := c.InfoMap(ctx, "memory").Result()
	if err != nil {
		return "", fmt.Errorf("ask %s for its memory: %w", srv.Addr(), err)
	}
	var used int
	if _, err := fmt.Sscan(info["Memory"]["used_memory"], &used); err != nil {
		return "", fmt.Errorf("read the memory of %s: %w", srv.Addr(), err)
	}
	d.say("%s, the master of %s, uses %d KiB and may use %d more", srv.Addr(), stack.DataMaster, used>>10, headroom>>10)
	return srv.Addr(), d.setMemory(ctx, used+headroom)
}

// setMemory limits the data master's memory; 0: no limit.
func (d *drill) setMemory(ctx context.Context, bytes int) error {
	return atMaster(ctx, d.stack.Redis, stack.DataMaster, func(c *redis.Client) error {
		if err := c.ConfigSet(ctx, "maxmemory", strconv.Itoa(bytes)).Err(); err != nil {
			return fmt.Errorf("limit the memory of %s: %w", stack.DataMaster, err)
		}
		return nil
	})
}

// fillTimeout is how long it may take to fill the headroom.
const fillTimeout = 15 * time.Second

// waitRefused waits until calls are refused.
func (d *drill) waitRefused(ctx context.Context, w *watch) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	for {
		answers := w.soFar()
		if n := len(answers); n > 3 && !answers[n-1].ok() && !answers[n-2].ok() {
			d.say("data Redis is full: %v", answers[n-1])
			return time.Now(), nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("fill data Redis: %w", err)
		}
	}
}

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
	if err := d.keepBusy(ctx); err != nil {
		return err
	}
	busyUntil := time.Now()
	d.judge.checkAll("posted while a replica was busy", between(posts.soFar(), d.faultAt, busyUntil))
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	// Without MGET nothing can be looked up. What one pub/sub shard refuses the
	// other carries, so that the API may be ready.
	if err := d.takeRight(ctx, "mget", stack.DataMaster, ready, http.StatusServiceUnavailable); err != nil {
		return err
	}
	if err := d.takeRight(ctx, "publish", stack.ShardMaster(shard), ready, http.StatusServiceUnavailable, http.StatusOK); err != nil {
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
func (d *drill) keepBusy(ctx context.Context) error {
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
func (d *drill) takeRight(ctx context.Context, command, shard string, ready *watch, status ...int) error {
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
