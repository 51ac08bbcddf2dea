package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// WaitReady blocks until the process's channel is subscribed on every shard,
// or ctx ends.
func (r *Relay) WaitReady(ctx context.Context) error { return r.sub.WaitReady(ctx) }

// Ready returns nil when a message sent now would arrive: a shard has a master
// that takes it, and the last canary came back through that shard. The error
// wraps hub.ErrUnavailable.
func (r *Relay) Ready() error {
	now := time.Now()
	for i, l := range r.lanes {
		if _, err := l.shard.Master(); err == nil && r.canaries.silence(i, now) < canaryPatience {
			return nil
		}
	}
	return fmt.Errorf("no pub/sub shard brings a message back: %w", hub.ErrUnavailable)
}

// receive takes one packet off a shard.
func (r *Relay) receive(shard int, _ string, payload []byte) {
	pk, err := parsePacket(payload)
	if err != nil {
		r.metrics.malformed.Inc()
		r.log.Warn("relay packet dropped", "shard", r.shards[shard], "err", err)
		return
	}
	now := time.Now()
	switch pk.kind {
	case kindData:
		r.metrics.lag.Observe(max(0, now.Sub(pk.sent).Seconds()))
		r.receiveData(shard, &pk, now)
	case kindAck:
		r.receiveAck(&pk, now)
	case kindCanary:
		r.canaries.returned(shard, &pk, r.self, now)
	case kindAsk:
		if r.holder != nil {
			r.answer(pk.from, pk.nonce)
		}
	case kindHere:
		r.receiveHere(&pk)
	case kindGrant:
		if r.holder != nil {
			r.holder.Granted(pk.mark, pk.dead)
		}
	}
}

func (r *Relay) receiveData(shard int, pk *packet, now time.Time) {
	r.mu.Lock()
	in := r.in[pk.from]
	if in == nil {
		in = &incoming{room: &r.ahead}
		r.in[pk.from] = in
		if r.holder != nil && r.holder.Seeking() {
			r.answer(pk.from, 0) // it may be what keeps us from delivering what it sends
		}
	}
	m := &Message{From: pk.from, Seq: pk.seq, Body: pk.body, wants: pk.wants, ticket: &ticket{seq: pk.seq}, stream: in, relay: r}
	v := in.accept(m, pk.floor, now, r.handle)
	if v == repeated {
		// The sender has not heard what we confirmed, and nobody confirms a
		// confirmation: we learn only so that our way to the sender is broken.
		// The one that brought the repeat works.
		r.pairLocked(pk.from, now).turnTo(shard, now)
	}
	r.mu.Unlock()
	r.metrics.received[v].Inc()
	if v != released { // what was released asks for an ack when it is done
		r.kick()
	}
}

// receiveAck lets go of what the receiver handled and sends again what it misses.
func (r *Relay) receiveAck(pk *packet, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.out[pk.from]
	if p == nil {
		return
	}
	before := p.bytes
	missing := p.confirm(pk, now, grain)
	r.kept.used -= before - p.bytes
	r.resendLocked(pk.from, p, missing, now, causeMissing)
}

func (r *Relay) resendLocked(to hub.ProcessID, p *pair, again []*retained, now time.Time, cause string) {
	for _, m := range again {
		r.post(r.dataItem(to, p, m, now, nil))
	}
	r.metrics.resent.WithLabelValues(cause).Add(float64(len(again)))
}
