package relay

import (
	"context"
	"time"

	"github.com/homing/homing/hub"
)

// Causes of sending a message again.
const (
	causeMissing = "missing" // the receiver said so
	causeSilence = "silence" // the receiver said nothing
)

// gapGrace is how long a gap may be a mere reordering between two shards
// before the sender is told.
const gapGrace = 20 * time.Millisecond

// kick wakes tend. It never blocks.
func (r *Relay) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// hurry has tend act now instead of with the next tick. It never blocks.
func (r *Relay) hurry() {
	select {
	case r.urgent <- struct{}{}:
	default:
	}
}

// tend confirms what was handled, and sends again what was not confirmed,
// every grain for as long as there is either, and sleeps otherwise.
func (r *Relay) tend(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		for busy := true; busy; {
			select {
			case <-ctx.Done():
				return nil
			case <-r.urgent:
			case <-time.After(grain):
			}
			busy = r.step(time.Now())
			r.tellGivenUp()
		}
	}
}

// step does what is due now and reports whether more may come due.
func (r *Relay) step(now time.Time) (busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked()
	for from, in := range r.in {
		busy = r.tendIncoming(from, in, now) || busy
	}
	for to, p := range r.out {
		busy = r.tendOutgoing(to, p, now) || busy
	}
	return busy
}

// settleLocked tells the streams what was handled since the last step.
func (r *Relay) settleLocked() {
	r.settledMu.Lock()
	all := r.settled
	r.settled = nil
	r.settledMu.Unlock()
	for _, s := range all {
		in := s.message.stream
		if in.settle(s.message, s.reply) { // one ack holds no more
			r.tellLocked(s.message.From, in, nil, time.Now())
		}
	}
}

func (r *Relay) tendIncoming(from hub.ProcessID, in *incoming, now time.Time) (busy bool) {
	if r.cfg.AtMostOnce {
		return false
	}
	in.release(now, r.upper.Handle) // what the handler had no room for
	if skipped := in.giveUp(now, r.cfg.Window, r.upper.Handle); skipped > 0 {
		r.metrics.skipped.Add(float64(skipped))
	}
	handled := in.handled()
	var gaps []span
	if len(in.waiting) > 0 && now.Sub(in.moved) > gapGrace {
		gaps = in.gaps(maxSpans)
	}
	late := handled > in.told && now.Sub(in.acked) >= ackAfter
	if late || in.remind || in.replies.untold > 0 || len(gaps) > 0 {
		r.tellLocked(from, in, gaps, now)
	}
	if now.Sub(in.seen) > pairIdle {
		in.clear()
		delete(r.in, from)
	}
	return len(in.waiting) > 0 || handled > in.told
}

// tellLocked tells a sender what of its messages is here.
func (r *Relay) tellLocked(to hub.ProcessID, in *incoming, gaps []span, now time.Time) {
	tell, lost := in.replies.tell(in.remind)
	r.metrics.repliesLost.Add(float64(lost))
	in.told, in.acked, in.remind = in.handled(), now, false
	pk := packet{kind: kindAck, from: r.self, sent: now, handled: in.told, next: in.next, missing: gaps, replies: tell}
	r.network.publish(r.network.item(to, &pk, r.pairLocked(to, now), nil))
	r.metrics.acks.Inc()
}

func (r *Relay) tendOutgoing(to hub.ProcessID, p *pair, now time.Time) (busy bool) {
	before := p.bytes
	gone := p.expire(now.Add(-r.cfg.Window))
	r.kept.used -= before - p.bytes
	r.metrics.givenUp.WithLabelValues(reasonWindow).Add(float64(len(gone)))
	for _, m := range gone {
		r.gone = append(r.gone, Abandoned{To: to, Body: m.body, Sent: m.first})
	}
	r.suspectLocked(to, p, now)
	if again := p.due(now, r.cfg.RetransmitTimeout, resendLimit); len(again) > 0 {
		// Once in a while, not with every message that comes due: a shard must
		// have its chance to be heard of before it is left in its turn.
		if now.Sub(p.heard) >= r.cfg.RetransmitTimeout && now.Sub(p.turned) >= r.cfg.RetransmitTimeout {
			p.turn, p.turned = p.turn+1, now
		}
		r.resendLocked(to, p, again, now, causeSilence)
	}
	if len(p.unacked) == 0 && now.Sub(p.used) > pairIdle {
		delete(r.out, to)
	}
	return len(p.unacked) > 0
}

// tellGivenUp passes on what was given up since the last step.
func (r *Relay) tellGivenUp() {
	r.mu.Lock()
	gone := r.gone
	r.gone = nil
	r.mu.Unlock()
	if len(gone) > 0 && r.upper.GivenUp != nil {
		r.upper.GivenUp(gone)
	}
}

// suspectLocked asks a receiver that has confirmed nothing for a while, so that
// it is known to be silent by the time that its lease lapses.
func (r *Relay) suspectLocked(to hub.ProcessID, p *pair, now time.Time) {
	if r.upper.Judge == nil || len(p.unacked) == 0 || now.Sub(p.heard) < askAfter || now.Sub(p.unacked[0].first) < askAfter {
		return
	}
	r.witness.suspect(to, now)
}
