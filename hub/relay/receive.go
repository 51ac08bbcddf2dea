package relay

import "time"

// receive takes one packet off a shard.
func (r *Relay) receive(shard int, _ string, payload []byte) {
	pk, err := parsePacket(payload)
	if err != nil {
		r.metrics.malformed.Inc()
		r.log.Warn("relay packet dropped", "shard", r.network.lanes[shard].name, "err", err)
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
	case kindAsk, kindHere, kindGrant:
		r.witness.receive(&pk)
	}
}

func (r *Relay) receiveData(shard int, pk *packet, now time.Time) {
	r.mu.Lock()
	in := r.in[pk.from]
	if in == nil {
		in = &incoming{room: &r.ahead}
		r.in[pk.from] = in
		if r.witness.seeking() {
			r.witness.answer(pk.from, 0) // it may be what keeps us from delivering what it sends
		}
	}
	m := &Message{From: pk.from, Seq: pk.seq, Body: pk.body, wants: pk.wants, ticket: &ticket{seq: pk.seq}, stream: in, relay: r}
	v := in.accept(m, pk.lowest, now, r.upper.Handle)
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

// seek tells everybody who sends to this process that it lives, if it cannot
// renew its lease.
func (r *Relay) seek(now time.Time) {
	if !r.witness.seeking() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for from, in := range r.in {
		if now.Sub(in.seen) < senderFresh {
			r.witness.answer(from, 0)
		}
	}
}
