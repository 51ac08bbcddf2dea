package relay

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

const (
	// canaryEvery is how often a process sends itself a probe on every shard.
	canaryEvery = time.Second
	// canaryPatience is how long a shard may bring no probe back before the
	// server that the process is subscribed at is left.
	canaryPatience = 2500 * time.Millisecond
)

// canaries tells whether what a process publishes on a shard comes back to it:
// from the master through the very replica that it is subscribed at. A replica
// that answers every question and forwards nothing is found out no other way.
type canaries struct {
	network *network

	lag  []prometheus.Observer
	lost []prometheus.Counter

	mu   sync.Mutex
	path []canaryPath // by shard
}

// canaryPath is what is known of the way through one shard.
type canaryPath struct {
	nonce uint64    // of the probe sent last
	at    time.Time // when that was
	open  bool      // it has not come back
	heard time.Time // when one came back last, or the first was sent
	left  time.Time // when the server was last left for it
}

func newCanaries(n *network, m metrics) *canaries {
	c := &canaries{network: n, path: make([]canaryPath, len(n.lanes))}
	for _, l := range n.lanes {
		c.lag = append(c.lag, m.canaryLag.WithLabelValues(l.name))
		c.lost = append(c.lost, m.canaryLost.WithLabelValues(l.name))
	}
	return c
}

// sent notes that a probe leaves on a shard and returns its nonce. overdue is
// whether none has come back for longer than the patience allows since the
// server was left last.
func (c *canaries) sent(shard int, now time.Time) (nonce uint64, overdue bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.path[shard]
	if p.open {
		c.lost[shard].Inc()
	}
	if p.heard.IsZero() {
		p.heard = now
	}
	if overdue = min(now.Sub(p.heard), now.Sub(p.left)) > canaryPatience; overdue {
		p.left = now
	}
	p.nonce++
	p.at, p.open = now, true
	return p.nonce, overdue
}

// returned notes that a probe came back.
func (c *canaries) returned(shard int, pk *packet, self hub.ProcessID, now time.Time) {
	if pk.from != self {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.path[shard]
	p.heard = now
	if pk.nonce == p.nonce && p.open {
		p.open = false
		c.lag[shard].Observe(now.Sub(p.at).Seconds())
	}
}

// silence is how long no probe has come back through a shard.
func (c *canaries) silence(shard int, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path[shard].heard.IsZero() {
		return canaryPatience
	}
	return now.Sub(c.path[shard].heard)
}

// leastSilence is how long no probe has come back through any shard.
func (c *canaries) leastSilence(now time.Time) time.Duration {
	least := c.silence(0, now)
	for i := 1; i < len(c.path); i++ {
		least = min(least, c.silence(i, now))
	}
	return least
}

// anyReturns reports whether a shard has a master, and probes came back
// through it lately.
func (c *canaries) anyReturns(now time.Time) bool {
	for i, l := range c.network.lanes {
		if _, err := l.shard.Master(); err == nil && c.silence(i, now) < canaryPatience {
			return true
		}
	}
	return false
}

// run probes every shard until ctx ends. It calls leave for a shard whose server
// brings nothing back, and each once a round.
func (c *canaries) run(ctx context.Context, leave func(shard int), each func(time.Time)) error {
	tick := time.NewTicker(canaryEvery)
	defer tick.Stop()
	self := c.network.self
	for {
		now := time.Now()
		for i, l := range c.network.lanes {
			nonce, overdue := c.sent(i, now)
			if _, err := l.shard.Master(); overdue && err == nil {
				leave(i)
			}
			pk := packet{kind: kindCanary, from: self, sent: now, nonce: nonce}
			l.push(&item{channel: c.network.keys.Channel(self), payload: pk.append(nil)})
		}
		each(now)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
