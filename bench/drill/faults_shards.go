package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
	o, err := d.observe(ctx)
	if err != nil {
		return err
	}
	defer o.leave()
	here, there, err := d.divide(ctx, o.users())
	if err != nil {
		return err
	}
	name := stack.DataShard(1)
	d.say("all servers of %s stand still for %v; %d of %d observers are there", name, shardDownFor, len(there), observers)
	one := func(users []hub.UserID, n int) hub.UserID { return users[n%len(users)] }
	ask := func(what string, p func(n int) post) *watch {
		return d.backend.watchPosts(ctx, what, 50*time.Millisecond, p)
	}
	up := ask("to the other shard", func(n int) post { return post{Users: []hub.UserID{one(here, n)}, Data: keepsake{N: n}} })
	down := ask("to the shard that is down", func(n int) post { return post{Users: []hub.UserID{one(there, n)}} })
	mixed := ask("to both", func(n int) post {
		return post{Users: []hub.UserID{one(here, n), one(there, n)}, Data: keepsake{N: mixedFrom + n}}
	})
	stored := ask("stored for both", func(n int) post {
		return post{Users: []hub.UserID{one(here, n), one(there, n)}, Store: keepFor}
	})
	ready := d.readiness.watch(ctx, "/readyz", d.stack.API.URLs()[0])
	d.faultAt = time.Now()
	err = hangServers(ctx, shardDownFor, d.stack.Redis.Servers(name))
	over := time.Now()
	d.say("they go on")
	if err == nil {
		err = pause(ctx, d.opts.After/2)
	}
	known := d.faultAt.Add(knownDown + d.stalls.longest())
	d.checkServed(o, between(up.end(), d.faultAt, over), 0)
	d.checkMixed(o, during(mixed.end(), known, over))
	d.judge.checkRefused(during(down.end(), known, over))
	d.judge.checkRefused(during(stored.end(), known, over))
	d.readiness.checkDegraded(during(ready.end(), known, over))
	for _, w := range []*watch{up, down, mixed, stored} {
		d.judge.checkRefusals(w.soFar())
	}
	return err
}

// mixedFrom sets the numbers of what names observers of both shards apart.
const mixedFrom = 1_000_000

// checkServed wants that every notification was accepted and read.
func (d *drill) checkServed(o *audience, answers []answer, from int) {
	d.judge.checkAll("notified on the shard that is up", answers)
	d.checkHeard(o, "on the shard that is up", len(answers), from)
}

// checkMixed wants that notifications were accepted for the one observer and
// told unavailable for the other.
func (d *drill) checkMixed(o *audience, answers []answer) {
	d.judge.checkAll("notified on both shards", answers)
	wrong := 0
	var example answer
	for _, a := range answers {
		var reply struct{ Targets, Online, Unavailable int }
		if a.ok() && (a.parse(&reply) != nil || reply.Unavailable != 1 || reply.Online != 1) {
			wrong, example = wrong+1, a
		}
	}
	if wrong > 0 {
		d.result.breaks("%d of %d answers to mixed requests did not count one user online and one unavailable: %v", wrong, len(answers), example)
	}
	d.checkHeard(o, "on both shards", len(answers), mixedFrom)
}

// checkHeard wants that as many notifications were read as were posted in the
// fault, at the least.
func (d *drill) checkHeard(o *audience, what string, posted, from int) {
	if heard := o.heard(from, from+mixedFrom); heard < posted {
		d.result.breaks("of %d notifications to observers %s, only %d were read", posted, what, heard)
	}
}

// audience are observers and what they have read.
type audience struct {
	hangUp  context.CancelFunc
	running sync.WaitGroup
	conns   map[hub.UserID]*client.Conn

	mu   sync.Mutex
	read map[int]int // how often, by number
}

// observe connects the observers.
func (d *drill) observe(ctx context.Context) (*audience, error) {
	ctx, hangUp := context.WithCancel(ctx)
	o := &audience{hangUp: hangUp, conns: make(map[hub.UserID]*client.Conn), read: make(map[int]int)}
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

// divide says who of users is on the first data shard, and who on the second.
func (d *drill) divide(ctx context.Context, users []hub.UserID) (here, there []hub.UserID, err error) {
	err = atMaster(ctx, d.stack.Redis, stack.DataShard(1), func(c *redis.Client) error {
		for _, u := range users {
			n, err := c.Exists(ctx, d.stack.Keys().User(u)).Result()
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

// spareShard starts a data shard that nobody is told of at first.
func spareShard(o *stack.Options) { o.Data, o.SpareData = 2, 1 }

// growShards adds a data shard: all servers are told of three shards and of
// the two before, the front first, then the API servers one by one; later the
// two before are left out, in the same way. For inboxes they stay as long as
// anything is kept that was stored before the change.
func growShards(ctx context.Context, d *drill) error {
	// A worker that knows the old list only cannot say what stands elsewhere.
	d.audit.forgets = true
	if err := d.audit.movesAll(d.stack.Front); err != nil {
		return err
	}
	lonely := make(chan string, 1)
	go func() { lonely <- d.checkPrefix(ctx) }()
	d.checkLayouts(ctx)
	early, keeper, visited := newVault(d, "early", 60, true), newVault(d, "keeper", 60, true), newVault(d, "visited", 20, true)
	for n := range 120 {
		early.put(ctx, "store with id", n)
		visited.put(ctx, "store with id", n)
	}
	stores := keeper.fill(ctx, 20*time.Millisecond)
	err := d.grow(ctx, visited)
	answers := stores.end()
	d.say("store with id: %v", count(answers))
	d.noteLayout(<-lonely)
	if err != nil {
		return err
	}
	return errors.Join(early.open(ctx), keeper.open(ctx))
}

// grow is the procedure. Half-way through a vault is opened.
func (d *drill) grow(ctx context.Context, visited *vault) error {
	d.faultAt = time.Now()
	all := d.stack.Redis.DataURLs()
	d.say("telling the servers of a third data shard, and of the two before")
	if err := d.rollOut(ctx, stack.Lists{Data: all, DataPrevious: all[:2]}); err != nil {
		return err
	}
	if err := errors.Join(visited.open(ctx), d.audit.movesAll(d.stack.Front)); err != nil {
		return err
	}
	d.say("telling the servers of the two before for inboxes only")
	return d.rollOut(ctx, stack.Lists{Data: all, InboxPrevious: all[:2]})
}

// rollOut tells all servers of their shards, one after the other.
func (d *drill) rollOut(ctx context.Context, lists stack.Lists) error {
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	if err := d.stack.Config.Write(lists); err != nil {
		return err
	}
	old, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	if err := d.stack.Front.ReplaceWorkers(); err != nil {
		return err
	}
	for gone := false; !gone; {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the workers to be replaced: %w", err)
		}
		if gone, err = d.pool.gone(old); err != nil {
			return err
		}
	}
	d.say("the workers were replaced")
	for i := range d.stack.API.URLs() {
		if err := d.stack.API.Restart(ctx, i); err != nil {
			return err
		}
	}
	d.say("the API servers were replaced")
	return d.attendance.watchReturn(ctx)
}

// odd is an API server that is told otherwise than the others.
type odd struct {
	what   string
	names  string        // what it must say differs
	within time.Duration // how soon
	flags  []string
}

// noticedWithin is how soon a server must say that it finds other shards than
// the others. That they go by another prefix it only learns by meeting nobody.
const (
	noticedWithin = 6 * time.Second
	lonelyWithin  = 25 * time.Second
)

// checkPrefix is checkLayout for an API server and a front of which one has a
// mistyped prefix. By itself each might be one of another deployment.
func (d *drill) checkPrefix(ctx context.Context) (wrong string) {
	p, err := d.stack.Front.Extra(ctx, "--redis-prefix", "other")
	if err != nil {
		return err.Error()
	}
	defer p.Stop(time.Second) //nolint:errcheck // it serves nobody
	return d.checkLayout(ctx, odd{"another prefix", "prefix", lonelyWithin, []string{"--redis-prefix", "otter"}})
}

// checkLayouts wants API servers that are told of other shards to say that they
// are not ready, and why.
func (d *drill) checkLayouts(ctx context.Context) {
	data, pubsub := d.stack.Redis.DataURLs(), d.stack.Redis.PubSubURLs()
	for _, o := range []odd{
		{"fewer data shards", stack.DataShard(1), noticedWithin, []string{"--redis-data", data[0]}},
		{"another data shard", stack.DataShard(2), noticedWithin, []string{"--redis-data", data[0] + " " + data[2]}},
		{"data and pub/sub swapped", stack.ShardMaster(0), noticedWithin, []string{"--redis-data", strings.Join(pubsub, " "), "--redis-pubsub", strings.Join(data[:2], " ")}},
	} {
		d.noteLayout(d.checkLayout(ctx, o))
	}
}

// noteLayout enters what checkLayout found wrong, if anything.
func (d *drill) noteLayout(wrong string) {
	if wrong != "" {
		d.result.breaks("%s", wrong)
	}
}

// checkLayout starts an odd API server and says what is wrong with it, if it
// does not say that it is not ready, and why.
func (d *drill) checkLayout(ctx context.Context, o odd) (wrong string) {
	p, url, err := d.stack.API.Extra(ctx, o.flags...)
	if err != nil {
		return fmt.Sprintf("start an API server with %s: %v", o.what, err)
	}
	defer p.Stop(time.Second) //nolint:errcheck // it serves nobody
	var last answer
	for end := time.Now().Add(o.within + d.stalls.longest()); time.Now().Before(end); {
		last = d.backend.call(ctx, "/readyz of an API server with "+o.what, http.MethodGet, url+"/readyz", nil)
		if last.status == http.StatusServiceUnavailable && strings.Contains(last.body, o.names) {
			d.say("%v", last)
			return ""
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	return fmt.Sprintf("an API server with %s does not say that it is not ready because of %s: %v", o.what, o.names, last)
}
