package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/homing/homing/bench/stack"
)

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
	l := &layouts{d.journal, d.stack, d.backend}
	go func() { lonely <- l.checkPrefix(ctx) }()
	l.checkAll(ctx)
	early, keeper, visited := newVault(d, "early", 60, true), newVault(d, "keeper", 60, true), newVault(d, "visited", 20, true)
	for n := range 120 {
		early.put(ctx, "store with id", n)
		visited.put(ctx, "store with id", n)
	}
	stores := keeper.fill(ctx, 20*time.Millisecond)
	err := grow(ctx, d, visited)
	answers := stores.end()
	d.say("store with id: %v", count(answers))
	l.note(<-lonely)
	if err != nil {
		return err
	}
	return errors.Join(early.open(ctx), keeper.open(ctx))
}

// grow is the procedure. Half-way through a vault is opened.
func grow(ctx context.Context, d *drill, visited *vault) error {
	d.faultAt = time.Now()
	all := d.stack.Redis.DataURLs()
	d.say("telling the servers of a third data shard, and of the two before")
	if err := rollOut(ctx, d, stack.Lists{Data: all, DataPrevious: all[:2]}); err != nil {
		return err
	}
	if err := errors.Join(visited.open(ctx), d.audit.movesAll(d.stack.Front)); err != nil {
		return err
	}
	d.say("telling the servers of the two before for inboxes only")
	return rollOut(ctx, d, stack.Lists{Data: all, InboxPrevious: all[:2]})
}

// rollOut tells all servers of their shards, one after the other.
func rollOut(ctx context.Context, d *drill, lists stack.Lists) error {
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

// layouts has servers started that are told otherwise than the others, and wants
// them to find out.
type layouts struct {
	*journal

	stack   *stack.Stack
	backend *backend
}

// checkPrefix is check for an API server and a front of which one has a
// mistyped prefix. By itself each might be one of another deployment.
func (l *layouts) checkPrefix(ctx context.Context) (wrong string) {
	p, err := l.stack.Front.Extra(ctx, "--redis-prefix", "other")
	if err != nil {
		return err.Error()
	}
	defer p.Stop(time.Second) //nolint:errcheck // it serves nobody
	return l.check(ctx, odd{"another prefix", "prefix", lonelyWithin, []string{"--redis-prefix", "otter"}})
}

// checkAll wants API servers that are told of other shards to say that they
// are not ready, and why.
func (l *layouts) checkAll(ctx context.Context) {
	data, pubsub := l.stack.Redis.DataURLs(), l.stack.Redis.PubSubURLs()
	for _, o := range []odd{
		{"fewer data shards", stack.DataShard(1), noticedWithin, []string{"--redis-data", data[0]}},
		{"another data shard", stack.DataShard(2), noticedWithin, []string{"--redis-data", data[0] + " " + data[2]}},
		{"data and pub/sub swapped", stack.ShardMaster(0), noticedWithin, []string{"--redis-data", strings.Join(pubsub, " "), "--redis-pubsub", strings.Join(data[:2], " ")}},
	} {
		l.note(l.check(ctx, o))
	}
}

// note enters what check found wrong, if anything.
func (l *layouts) note(wrong string) {
	if wrong != "" {
		l.result.breaks("%s", wrong)
	}
}

// check starts an odd API server and says what is wrong with it, if it
// does not say that it is not ready, and why.
func (l *layouts) check(ctx context.Context, o odd) (wrong string) {
	p, url, err := l.stack.API.Extra(ctx, o.flags...)
	if err != nil {
		return fmt.Sprintf("start an API server with %s: %v", o.what, err)
	}
	defer p.Stop(time.Second) //nolint:errcheck // it serves nobody
	var last answer
	for end := time.Now().Add(o.within + l.stalls.longest()); time.Now().Before(end); {
		last = l.backend.call(ctx, "/readyz of an API server with "+o.what, http.MethodGet, url+"/readyz", nil)
		if last.status == http.StatusServiceUnavailable && strings.Contains(last.body, o.names) {
			l.say("%v", last)
			return ""
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	return fmt.Sprintf("an API server with %s does not say that it is not ready because of %s: %v", o.what, o.names, last)
}
