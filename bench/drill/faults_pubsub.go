package drill

import (
	"context"
	"errors"
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
		if err := d.operator.killPair(ctx, pair); err != nil {
			return err
		}
	}
	answers := stores.end()
	d.say("store with id: %v", count(answers))
	d.judge.checkRefusals(answers)
	return v.open(ctx)
}
