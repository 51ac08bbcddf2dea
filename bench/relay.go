package bench

import (
	"context"
	"errors"
	"time"

	"github.com/homing/homing/bench/stack"
)

// relayRounds is how often each of the two ways is measured, in turn, so that
// a machine whose speed drifts favors neither.
const relayRounds = 3

// relayCost is what one way of sending took, over all its rounds.
type relayCost struct {
	cpu        spent
	commands   int
	deliveries int
	p50, p99   float64 // ms, the mean of the rounds
}

// relay measures what it costs that messages between processes are confirmed
// and kept until they are: the scenario notify with it and without it, in turn.
func (r *run) relay(ctx context.Context) error {
	if r.opts.API != "" {
		return errors.New("--api: the relay is compared on systems that the scenario starts itself")
	}
	ways := map[bool]*relayCost{true: {}, false: {}}
	for range relayRounds {
		for _, atMostOnce := range []bool{false, true} {
			if err := r.relayRound(ctx, atMostOnce, ways[atMostOnce]); err != nil {
				return err
			}
		}
	}
	f, with, without := &r.report, ways[false], ways[true]
	f.Add("deliveries", float64(with.deliveries+without.deliveries), "messages read by clients in the measured parts")
	f.Add("reliable_us_per_delivery", with.us(), "µs of API, front and Redis CPU per message, confirmed")
	f.Add("at_most_once_us_per_delivery", without.us(), "the same, published and forgotten")
	f.Add("cpu_ratio", with.us()/without.us(), "CPU per message, confirmed to forgotten")
	f.Add("reliable_commands_per_delivery", with.perDelivery(), "Redis commands per message, replicas' too, confirmed")
	f.Add("at_most_once_commands_per_delivery", without.perDelivery(), "the same, forgotten")
	f.Add("commands_ratio", with.perDelivery()/without.perDelivery(), "Redis commands per message, confirmed to forgotten")
	f.Add("reliable_p50_ms", with.p50, "ms from the schedule's instant to the client, confirmed")
	f.Add("at_most_once_p50_ms", without.p50, "the same, forgotten")
	f.Add("reliable_p99_ms", with.p99, "ms, confirmed")
	f.Add("at_most_once_p99_ms", without.p99, "ms, forgotten")
	return nil
}

func (c *relayCost) us() float64 { return per(c.cpu.api+c.cpu.front+c.cpu.redis, c.deliveries) }

func (c *relayCost) perDelivery() float64 { return float64(c.commands) / float64(c.deliveries) }

// relayRound runs one system for one round and adds what it took to c.
func (r *run) relayRound(ctx context.Context, atMostOnce bool, c *relayCost) (err error) {
	defer func() { err = errors.Join(err, r.stop()); r.stack = nil }()
	if atMostOnce {
		r.say("at most once")
	} else {
		r.say("confirmed")
	}
	o := r.stackOptions()
	o.AtMostOnce = atMostOnce
	if r.stack, err = stack.Start(ctx, o); err != nil {
		return err
	}
	if err := r.startHive(); err != nil {
		return err
	}
	b, err := r.ready(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	return r.relayLoad(ctx, b, c)
}

func (r *run) relayLoad(ctx context.Context, b *backend, c *relayCost) error {
	before, err := r.stack.RedisCommands(ctx)
	if err != nil {
		return err
	}
	m, err := r.measureLoad(ctx, func() error { return r.load(ctx, b, r.opts.Duration/relayRounds) })
	if err != nil {
		return err
	}
	after, err := r.stack.RedisCommands(ctx)
	if err != nil {
		return err
	}
	c.cpu.api += m.cpu.api
	c.cpu.front += m.cpu.front
	c.cpu.redis += m.cpu.redis
	c.commands += after - before
	c.deliveries += m.deliveries
	const us = float64(time.Millisecond / time.Microsecond)
	c.p50 += float64(m.lag.ValueAtPercentile(50)) / us / relayRounds
	c.p99 += float64(m.lag.ValueAtPercentile(99)) / us / relayRounds
	return nil
}
