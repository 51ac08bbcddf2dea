package lease

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// sign is a sign of life: a process said, at a mark of its own clock, that it
// is there.
type sign struct {
	process hub.ProcessID
	mark    uint64
}

// Here takes a sign of life of process p. It never blocks: one that finds no
// room is dropped, and comes again in a second.
func (c *Census) Here(p hub.ProcessID, mark uint64) {
	select {
	case c.signs <- sign{p, mark}:
	default:
		c.met.dropped.Inc()
	}
}

// vouch renews the lease of a process that lives and may be unable to do it
// itself, and tells it so. It is told without that while nobody can declare
// anything where leases stand, as far as this process sees: then the answer
// alone is worth a period, because a declarer must have seen that shard steady
// for as long.
func (c *Census) vouch(ctx context.Context, s sign) {
	roll := c.roll.Load()
	if roll == nil {
		return
	}
	if roll.Dead(s.process) {
		c.grant(s, true)
		return
	}
	description, _ := json.Marshal(roll.describe(s.process)) // strings and numbers always marshal
	var n int
	err := c.shard.Write(ctx, func(ctx context.Context, cl *redis.Client) (err error) {
		n, err = vouchScript.Run(ctx, cl, []string{c.keys.Lease(s.process), c.keys.Tombstone(s.process)},
			description, c.timing.Period.Milliseconds()).Int()
		return err
	})
	switch {
	case err != nil && !c.Steady(), err == nil && n > 0:
		c.met.vouched.Inc()
		c.grant(s, false)
	case err == nil && n < 0:
		c.grant(s, true)
	}
}

func (c *Census) grant(s sign, dead bool) {
	if c.prober != nil {
		c.prober.Grant(s.process, s.mark, dead)
	}
}

// judge goes on with the processes in question: each is asked again, and
// declared dead when it has owed an answer for longer than the patience.
func (c *Census) judge(ctx context.Context) {
	for id, since := range c.open() {
		if c.prober != nil {
			if since = c.prober.Unanswered(id); since.IsZero() { // it has answered, or was never asked
				since = time.Now()
			}
			c.prober.Ask(id)
		}
		if time.Since(since) >= c.timing.Patience && c.Steady() {
			c.declare(ctx, id, false)
		}
	}
	for _, id := range c.risen() {
		c.declare(ctx, id, true)
	}
}

// open returns the processes in question, with the time since when they are.
func (c *Census) open() map[hub.ProcessID]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.questions)
}

// risen lists the dead whose lease stands all the same: a failover has lost
// their tombstone.
func (c *Census) risen() []hub.ProcessID {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.zombies
	c.zombies = nil
	return ids
}

// declare writes a process's tombstone, unless its lease stands and anyway is
// not set.
func (c *Census) declare(ctx context.Context, id hub.ProcessID, anyway bool) {
	force := 0
	if anyway {
		force = 1
	}
	var dead bool
	err := c.shard.Write(ctx, func(ctx context.Context, cl *redis.Client) (err error) {
		dead, err = declareScript.Run(ctx, cl, []string{c.keys.Lease(id), c.keys.Tombstone(id)},
			tombDeclared, tombstoneKept.Milliseconds(), force).Bool()
		return err
	})
	if err != nil {
		c.log.Warn("declare a process dead", "process", id, "err", err)
		return
	}
	if !dead {
		return // it renewed meanwhile
	}
	c.met.declared.Inc()
	c.log.Warn("process declared dead: its lease has lapsed and it does not answer", "process", id)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buryLocked(id)
	next := c.roll.Load().without(id)
	c.showLocked(next)
}

// questionLocked puts a process in question.
func (c *Census) questionLocked(id hub.ProcessID) {
	if _, open := c.questions[id]; !open {
		c.questions[id] = time.Now()
	}
}

// settleLocked ends the question whether a process lives.
func (c *Census) settleLocked(id hub.ProcessID) {
	if _, open := c.questions[id]; !open {
		return
	}
	delete(c.questions, id)
	if c.prober != nil {
		c.prober.Forget(id)
	}
}

// buryLocked remembers that a process is dead.
func (c *Census) buryLocked(id hub.ProcessID) {
	c.settleLocked(id)
	if _, known := c.dead[id]; !known {
		c.dead[id] = time.Now()
	}
}
