package bench

import (
	"context"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
)

const (
	// topicWorkers is how many worker processes share the members, at least.
	topicWorkers = 4
	// topicRounds is how often topic and broadcast are measured, in turn, so that a
	// machine whose speed drifts favors neither.
	topicRounds = 3
	// joinRounds is how many topics each client joins that have members everywhere.
	joinRounds = 10
	joinRest   = 3 * time.Second
)

var topicScenario = scenario{
	name: "topic", measure: measureTopic,
	own:      own{conns: 20_000, rate: 2},
	headline: []string{"deliveries_per_s", "front_us_per_delivery", "broadcast_us_per_delivery", "limit_us_per_delivery", "joins_per_s", "kib_per_membership"},
}

// Help is shown below the flags.
func (TopicFlags) Help() string {
	return `Every client is a member of one topic, by its token, on four workers at least.
Messages to the topic and broadcasts take turns, three times, so that both are
measured on the same connections; then the bare limit is.

Before that each client subscribes to topics, as fast as they answer: to ten that
have members on every worker, and to one of its own. Redis commands are counted
meanwhile, less those of as long a rest.

Examples:

  homing bench topic                       # 20,000 members
  homing bench topic --conns 2000 --rate 20`
}

// measureTopic has everyone be a member of one topic, and measures what it costs to
// become one, to be one, and to be told something.
func measureTopic(ctx context.Context, r *run) error {
	o := r.opts
	o.Workers, o.Topics = max(o.Workers, topicWorkers), true
	o.Targets, o.Online = o.Conns, o.Conns
	r.say("starting Redis, %d API and %d front worker processes", o.APIs, o.workers())
	h, err := startHoming(ctx, o)
	if err != nil {
		return err
	}
	s := setup{Options: o, system: h}
	err = r.try(ctx, s, func(x *trial) error {
		t := &topicTrial{x, h.Redis}
		if err := t.connectAll(ctx, 0); err != nil {
			return err
		}
		if err := rig.Pause(ctx, settle); err != nil {
			return err
		}
		if err := t.joins(ctx); err != nil {
			return err
		}
		return t.tellTopic(ctx)
	})
	if err != nil || !s.Limit {
		return err
	}
	s.toAll = true
	return limit(ctx, r, s)
}

// topicTrial is the scenario on the bench.
type topicTrial struct {
	*trial

	redis *stack.Redis
}

// tellTopic measures messages to the topic, and broadcasts, in turn.
func (t *topicTrial) tellTopic(ctx context.Context) error {
	if err := t.rig.Warm(ctx, t.opts.Rate, warmUp); err != nil {
		return err
	}
	loads := map[bool][]rig.Load{}
	for range topicRounds {
		for _, toAll := range []bool{false, true} {
			t.rig.Broadcast(toAll)
			l, err := t.rig.Load(ctx, t.opts.Rate, t.opts.Duration/topicRounds)
			if err != nil {
				return err
			}
			loads[toAll] = append(loads[toAll], l)
		}
	}
	if err := t.addVerdict(ctx); err != nil {
		return err
	}
	told := rig.Sum(loads[false])
	t.Add("deliveries", float64(told.Deliveries), "messages to the topic that members have read")
	t.Add("deliveries_per_s", told.PerSecond(), "messages per second")
	t.addCPU(told)
	t.addLatency("", told)
	t.noteSmallLoad(told)
	broadcast := rig.Sum(loads[true])
	t.Add("broadcast_us_per_delivery", broadcast.Micros(rig.Front), "µs of front CPU per message of a broadcast to the same connections")
	t.Add("broadcast_p99_ms", broadcast.Percentile(99), "ms of a broadcast")
	return nil
}

// joined is what it took that clients joined topics.
type joined struct {
	perSecond float64
	commands  float64 // at Redis for each, less those of as long a rest
	front     float64 // µs of front CPU
}

// joins has every client join topics, and measures that.
func (t *topicTrial) joins(ctx context.Context) error {
	rest, err := t.restingCommands(ctx)
	if err != nil {
		return err
	}
	known := clients.Joins{Name: "known:", Of: joinRounds}
	if _, err := t.join(ctx, rest, known); err != nil { // the first of each worker, whom the index is told of
		return err
	}
	before, err := t.rig.Memory()
	if err != nil {
		return err
	}
	var sum joined
	for turn := 1; turn < joinRounds; turn++ {
		known.Turn = turn
		j, err := t.join(ctx, rest, known)
		if err != nil {
			return err
		}
		sum.perSecond += 1 / j.perSecond / (joinRounds - 1)
		sum.commands += j.commands / (joinRounds - 1)
		sum.front += j.front / (joinRounds - 1)
	}
	if err := rig.Pause(ctx, settle); err != nil {
		return err
	}
	after, err := t.rig.Memory()
	if err != nil {
		return err
	}
	fresh, err := t.join(ctx, rest, clients.Joins{Name: "fresh:"})
	if err != nil {
		return err
	}
	t.Add("joins_per_s", 1/sum.perSecond, "joins per second of topics that every worker has members of")
	t.Add("join_us", sum.front, "µs of front CPU per such join")
	t.Add("join_commands", max(0, sum.commands), "Redis commands per such join, less those of as long a rest")
	t.Add("fresh_joins_per_s", fresh.perSecond, "joins per second of topics that nobody was a member of")
	t.Add("fresh_join_us", fresh.front, "µs of front CPU per such join")
	t.Add("fresh_join_commands", max(0, fresh.commands), "Redis commands per such join, replicas' too, less those of as long a rest")
	memberships := float64(t.opts.Conns * (joinRounds - 1))
	t.Add("kib_per_membership", float64(after.Front-before.Front)/1024/memberships, "KiB of the front's memory per membership (Pss)")
	return nil
}

// restingCommands is how many commands a second Redis carries out for nobody.
func (t *topicTrial) restingCommands(ctx context.Context) (float64, error) {
	before, err := t.redis.Commands(ctx)
	if err != nil {
		return 0, err
	}
	if err := rig.Pause(ctx, joinRest); err != nil {
		return 0, err
	}
	after, err := t.redis.Commands(ctx)
	return float64(after-before) / joinRest.Seconds(), err
}

// join has every client join a topic; rest is what Redis does in a second without that.
func (t *topicTrial) join(ctx context.Context, rest float64, what clients.Joins) (j joined, err error) {
	before, err := t.redis.Commands(ctx)
	if err != nil {
		return j, err
	}
	used, err := t.rig.During(func() error { return t.rig.Hive().Join(ctx, what) })
	if err != nil {
		return j, err
	}
	after, err := t.redis.Commands(ctx)
	n := float64(t.opts.Conns)
	j.perSecond = n / used.Took.Seconds()
	j.commands = (float64(after-before) - rest*used.Took.Seconds()) / n
	j.front = float64(used.Groups[rig.Front].CPU.Microseconds()) / n
	t.say("%d clients joined %s… in %.2fs, %d Redis commands, %.0f at rest", t.opts.Conns, what.Name, used.Took.Seconds(), after-before, rest*used.Took.Seconds())
	return j, err
}
