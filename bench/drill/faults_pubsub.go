package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

const (
	// shortWindow is how long messages are kept that nobody confirms, where no
	// shard is to carry them for longer.
	shortWindow = 5 * time.Second
	// pubsubAwayFor is how long all of pub/sub Redis is away: what is sent at
	// the beginning is given up, what is sent at the end is not.
	pubsubAwayFor = 2 * shortWindow
)

// shortRelay has all servers give messages up early.
func shortRelay(o *stack.Options) {
	window := []string{"--relay-window", shortWindow.String()}
	o.APIArgs, o.FrontArgs = append(o.APIArgs, window...), append(o.FrontArgs, window...)
}

// stopPubSub stops all servers of all pub/sub shards for a while.
func stopPubSub(ctx context.Context, d *drill) error {
	var all []*redisproc.Server
	for i := range shards {
		all = append(all, d.stack.Redis.Servers(stack.ShardMaster(i))...)
	}
	before, err := d.books.read(ctx)
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.say("all %d pub/sub servers stand still for %v, and the relay's window is %v", len(all), pubsubAwayFor, shortWindow)
	if err := hangServers(ctx, pubsubAwayFor, all); err != nil {
		return err
	}
	d.audit.givesUp(d.faultAt, time.Now())
	d.say("they go on")
	d.readiness.wait(ctx, "the API", d.stack.API.URLs()[0], readyAgain)
	d.readiness.wait(ctx, "the front", d.stack.Front.Admin(), readyAgain)
	if err := pause(ctx, shortWindow+regroup); err != nil {
		return err
	}
	return d.books.countGivenUp(ctx, before)
}

// hangServers stops servers and lets them go on after a while, or when ctx
// ends.
func hangServers(ctx context.Context, length time.Duration, servers []*redisproc.Server) (err error) {
	for _, srv := range servers {
		err = errors.Join(err, srv.Stop())
	}
	if err == nil {
		err = pause(ctx, length)
	}
	for _, srv := range servers {
		err = errors.Join(err, srv.Cont())
	}
	return err
}

// killTwo kills two servers at once, three times, and brings them back each
// time.
func killTwo(ctx context.Context, d *drill) error {
	v := newVault(d, "keeper", 40, true)
	stores := v.fill(ctx, 20*time.Millisecond)
	d.faultAt = time.Now()
	first, second := stack.ShardMaster(0), stack.ShardMaster(1)
	for _, pair := range [][2]victim{
		{{name: first}, {name: second, replica: true}},
		{{name: first}, {name: second}},
		{{name: stack.DataMaster}, {name: first}},
	} {
		if err := d.killPair(ctx, pair); err != nil {
			return err
		}
	}
	answers := stores.end()
	d.say("store with id: %v", count(answers))
	d.judge.checkRefusals(answers)
	return v.open(ctx)
}

// victim is a server to kill: the master of a name, or a replica of it.
type victim struct {
	name    string
	replica bool
}

func (v victim) find(ctx context.Context, d *drill) (*redisproc.Server, error) {
	if !v.replica {
		return d.stack.Redis.Master(ctx, v.name)
	}
	replicas, err := d.stack.Redis.Replicas(ctx, v.name)
	if err != nil {
		return nil, err
	}
	return replicas[0], nil
}

// killPair kills two servers, waits until others are the masters, starts the
// two again as replicas of these, and waits until all is whole.
func (d *drill) killPair(ctx context.Context, pair [2]victim) error {
	ctx, cancel := context.WithTimeout(ctx, 2*failoverTimeout)
	defer cancel()
	var dead [2]*redisproc.Server
	for i, v := range pair {
		var err error
		if dead[i], err = v.find(ctx, d); err != nil {
			return err
		}
	}
	began := time.Now()
	for i, srv := range dead {
		d.say("killing %s of %s", srv.Addr(), pair[i].name)
		srv.Crash()
	}
	for i, srv := range dead {
		if err := d.bringBack(ctx, pair[i], srv); err != nil {
			return err
		}
	}
	d.say("both are back as replicas %.1fs after their death", time.Since(began).Seconds())
	if err := d.stack.Redis.WaitReplicas(ctx); err != nil {
		return err
	}
	return pause(ctx, regroup)
}

func (d *drill) bringBack(ctx context.Context, v victim, srv *redisproc.Server) error {
	master, err := d.stack.Redis.Master(ctx, v.name)
	if err == nil && !v.replica {
		master, err = d.waitMaster(ctx, v.name, srv)
	}
	if err != nil {
		return err
	}
	if err := srv.Restart(ctx, master.Addr()); err != nil {
		return fmt.Errorf("bring %s back: %w", srv.Addr(), err)
	}
	return nil
}
