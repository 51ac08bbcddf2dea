package relay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/homing/homing/hub"
)

// keep numbers and retains every message of out for which there is room, and
// queues it on its lane, in one step, so that a lane's order is the sequence's.
func (r *Relay) keep(out []Outgoing) (*batch, error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b := newBatch(r.refuseLocked(out))
	if b.pending.Load() == 0 {
		return nil, fmt.Errorf("%w: %w: %d bytes kept of %d, for %d receivers", hub.ErrUnavailable, ErrFull, r.kept.used, r.kept.limit, len(out))
	}
	for i := range out {
		o := &out[i]
		if o.Refused {
			continue
		}
		p := r.pairLocked(o.To, now)
		m := p.add(o.Body, o.Reply, now)
		r.network.publish(r.dataItem(o.To, p, m, now, b))
		if r.cfg.AtMostOnce {
			p.abandon()
			r.kept.used -= costOf(o.Body)
		}
	}
	return b, nil
}

// refuseLocked makes room for out, marks what there is no room for, and returns
// how many messages that leaves.
func (r *Relay) refuseLocked(out []Outgoing) (left int) {
	for i := range out {
		o := &out[i]
		held, cost := 0, costOf(o.Body)
		if p := r.out[o.To]; p != nil {
			held = p.bytes
		}
		if o.Refused = !r.kept.fits(held, cost); o.Refused {
			r.metrics.refused.Inc()
			continue
		}
		r.kept.used += cost
		left++
	}
	return left
}

func (r *Relay) pairLocked(to hub.ProcessID, now time.Time) *pair {
	p := r.out[to]
	if p == nil {
		p = &pair{outgoing: newOutgoing(r.sequence(now), now), order: r.network.preference(to)}
		r.out[to] = p
	}
	if p.turn > 0 && now.Sub(p.turned) > turnFor {
		p.turn = 0
	}
	return p
}

// sequence is a number that no earlier sequence to the same receiver has
// reached: it begins at random and grows with the microseconds, faster than any
// sequence, whatever happens to the wall clock. So a sender may forget an idle
// receiver and begin again.
func (r *Relay) sequence(now time.Time) uint64 {
	return r.first + uint64(max(0, now.Sub(r.born).Microseconds()))
}

// turnTo makes a lane the next one that is tried.
func (p *pair) turnTo(lane int, now time.Time) {
	p.turn, p.turned = slices.Index(p.order, lane), now
}

// dataItem is one sending of m.
func (r *Relay) dataItem(to hub.ProcessID, p *pair, m *retained, now time.Time, b *batch) *item {
	pk := packet{kind: kindData, from: r.self, sent: now, seq: m.seq, lowest: p.lowest(), wants: m.reply != nil, body: m.body}
	return r.network.item(to, &pk, p, b)
}

func (r *Relay) resendLocked(to hub.ProcessID, p *pair, again []*retained, now time.Time, cause string) {
	for _, m := range again {
		r.network.publish(r.dataItem(to, p, m, now, nil))
	}
	r.metrics.resent.WithLabelValues(cause).Add(float64(len(again)))
}

// Abandoned is a message that its receiver did not confirm.
type Abandoned struct {
	To   hub.ProcessID
	Body []byte
	Sent time.Time // first
}

// Abandon forgets process to, which is dead, and returns the messages that it
// did not confirm, in order. They are the caller's.
func (r *Relay) Abandon(to hub.ProcessID) []Abandoned {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.out[to]
	if p == nil {
		return nil
	}
	delete(r.out, to)
	r.kept.used -= p.bytes
	gone := p.abandon()
	r.metrics.givenUp.WithLabelValues(reasonDead).Add(float64(len(gone)))
	left := make([]Abandoned, len(gone))
	for i, m := range gone {
		left[i] = Abandoned{To: to, Body: m.body, Sent: m.first}
	}
	return left
}

// Unconfirmed lists the receivers that have not confirmed everything, with
// the time when the oldest such message was sent.
func (r *Relay) Unconfirmed() map[hub.ProcessID]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := make(map[hub.ProcessID]time.Time)
	for id, p := range r.out {
		if len(p.unacked) > 0 {
			oldest[id] = p.unacked[0].first
		}
	}
	return oldest
}

// Flush blocks until every message that was sent is confirmed or given up, or
// ctx ends; then the error says how many receivers have not confirmed. A
// process that stops calls it, while Run runs, so that what it accepted does
// not depend on nothing going wrong just now.
func (r *Relay) Flush(ctx context.Context) error {
	for {
		left := len(r.Unconfirmed())
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes have not confirmed everything: %w", left, ctx.Err())
		case <-time.After(grain):
		}
	}
}
