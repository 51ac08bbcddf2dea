package bench

import (
	"context"

	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
)

// relayRounds is how often each of the two ways is measured, in turn, so that
// a machine whose speed drifts favors neither.
const relayRounds = 3

// relayCost is what one way of sending took, over all its rounds.
type relayCost struct {
	us         float64 // CPU of API, front and Redis
	commands   int
	deliveries int
	p50, p99   float64 // ms, the mean of the rounds
}

var relayScenario = scenario{
	name: "relay", measure: measureRelay,
	own:      own{rate: 100},
	headline: []string{"reliable_us_per_delivery", "cpu_ratio", "commands_ratio", "reliable_p50_ms", "reliable_p99_ms"},
}

// measureRelay measures what it costs that messages between processes are confirmed
// and kept until they are: the scenario notify with it and without it, in turn.
func measureRelay(ctx context.Context, r *run) error {
	ways := map[bool]*relayCost{true: {}, false: {}}
	for range relayRounds {
		for _, atMostOnce := range []bool{false, true} {
			if err := ways[atMostOnce].round(ctx, r, atMostOnce); err != nil {
				return err
			}
		}
	}
	with, without := ways[false], ways[true]
	r.Add("deliveries", float64(with.deliveries+without.deliveries), "messages read by clients in the measured parts")
	r.Add("reliable_us_per_delivery", with.micros(), "µs of API, front and Redis CPU per message, confirmed")
	r.Add("at_most_once_us_per_delivery", without.micros(), "the same, published and forgotten")
	r.Add("cpu_ratio", with.micros()/without.micros(), "CPU per message, confirmed to forgotten")
	r.Add("reliable_commands_per_delivery", with.perDelivery(), "Redis commands per message, replicas' too, confirmed")
	r.Add("at_most_once_commands_per_delivery", without.perDelivery(), "the same, forgotten")
	r.Add("commands_ratio", with.perDelivery()/without.perDelivery(), "Redis commands per message, confirmed to forgotten")
	r.Add("reliable_p50_ms", with.p50, "ms from the schedule's instant to the client, confirmed")
	r.Add("at_most_once_p50_ms", without.p50, "the same, forgotten")
	r.Add("reliable_p99_ms", with.p99, "ms, confirmed")
	r.Add("at_most_once_p99_ms", without.p99, "ms, forgotten")
	return nil
}

func (c *relayCost) micros() float64 { return c.us / float64(c.deliveries) }

func (c *relayCost) perDelivery() float64 { return float64(c.commands) / float64(c.deliveries) }

// round runs one system for one round and adds what it took.
func (c *relayCost) round(ctx context.Context, r *run, atMostOnce bool) error {
	name := map[bool]string{true: "at most once", false: "confirmed"}[atMostOnce]
	r.say("%s", name)
	o := r.opts.stack()
	o.AtMostOnce = atMostOnce
	s, err := stack.Start(ctx, o)
	if err != nil {
		return err
	}
	return r.try(ctx, setup{Options: r.opts, name: name, system: homing{Stack: s}}, func(t *trial) error {
		if _, err := t.rig.Connect(ctx, 0); err != nil {
			return err
		}
		if err := t.rig.Warm(ctx, t.opts.Rate, warmUp); err != nil {
			return err
		}
		return c.load(ctx, t, s)
	})
}

func (c *relayCost) load(ctx context.Context, t *trial, s *stack.Stack) error {
	before, err := s.Redis.Commands(ctx)
	if err != nil {
		return err
	}
	l, err := t.rig.Load(ctx, t.opts.Rate, t.opts.Duration/relayRounds)
	if err != nil {
		return err
	}
	after, err := s.Redis.Commands(ctx)
	if err != nil {
		return err
	}
	t.noteSmallLoad(l)
	c.us += (l.Micros(rig.API) + l.Micros(rig.Front) + l.Micros(rig.Redis)) * float64(l.Deliveries)
	c.commands += after - before
	c.deliveries += l.Deliveries
	c.p50 += l.Percentile(50) / relayRounds
	c.p99 += l.Percentile(99) / relayRounds
	return nil
}
