package relay

import "time"

// outgoing is the sending half of one pair: what this process sent to one
// receiver and the receiver has not confirmed. It is pure state, without
// clock, I/O or lock, so that a model can drive it.
type outgoing struct {
	next    uint64      // sequence number of the next message
	unacked []*retained // not handled by the receiver: ascending, without holes
	arrived uint64      // every message below it has arrived there
	bytes   int         // what unacked costs
	used    time.Time   // when a message was last added
	heard   time.Time   // when an ack last moved arrived, or the first message was added
}

// retained is one message kept until its receiver has handled it.
type retained struct {
	seq   uint64
	body  []byte
	first time.Time    // when it was sent first
	last  time.Time    // when it was sent last
	tries int          // how often it was sent
	reply func([]byte) // called once with the reply, or with nil when there will be none; may be nil
}

// answer gives r's sender what it waits for, if it does.
func (r *retained) answer(body []byte) {
	if r.reply != nil {
		r.reply(body)
		r.reply = nil
	}
}

// newOutgoing starts a sequence at the number given, which is above 0 and above
// all that an earlier sequence of the same pair has reached.
func newOutgoing(start uint64, now time.Time) outgoing {
	return outgoing{next: start, arrived: start, used: now}
}

// add retains body as the next message and counts it as sent. reply may be nil.
func (o *outgoing) add(body []byte, reply func([]byte), now time.Time) *retained {
	if len(o.unacked) == 0 {
		o.heard = now
	}
	r := &retained{seq: o.next, body: body, first: now, last: now, tries: 1, reply: reply}
	o.next++
	o.unacked = append(o.unacked, r)
	o.bytes += costOf(body)
	o.used = now
	return r
}

// lowest is the lowest sequence number that may still be sent.
func (o *outgoing) lowest() uint64 {
	if len(o.unacked) == 0 {
		return o.next
	}
	return o.unacked[0].seq
}

// confirm takes an ack: it lets go of what was handled, remembers what
// arrived, and returns the messages that the ack names as missing and that
// were not sent again within the timeout, counting them as sent now. An ack of
// what is below lowest() already, or of what was never sent, changes nothing.
func (o *outgoing) confirm(p *packet, now time.Time, timeout time.Duration) (again []*retained) {
	if p.next > o.next {
		return nil
	}
	for _, a := range p.replies {
		if a.seq >= o.lowest() && a.seq < o.next {
			o.unacked[a.seq-o.lowest()].answer(a.body)
		}
	}
	if p.handled > o.lowest() {
		o.drop(int(p.handled - o.lowest())) //nolint:gosec // at most len(unacked)
	}
	if p.next > o.arrived {
		o.arrived = p.next
		o.heard = now
	}
	room := resendBytes
	for _, s := range p.missing {
		for seq := max(s.from, o.arrived, o.lowest()); seq < s.from+s.length && seq < o.next && room > 0; seq++ {
			again = o.resend(again, o.unacked[seq-o.lowest()], now, timeout, &room)
		}
	}
	return again
}

// due returns what has not arrived and was not sent again within the timeout,
// which doubles with each try up to eightfold, counting it as sent now. limit bounds how many, and resendBytes how much.
func (o *outgoing) due(now time.Time, timeout time.Duration, limit int) (again []*retained) {
	room := resendBytes
	for seq := max(o.arrived, o.lowest()); seq < o.next && len(again) < limit && room > 0; seq++ {
		r := o.unacked[seq-o.lowest()]
		again = o.resend(again, r, now, timeout<<min(r.tries-1, 3), &room)
	}
	return again
}

// resend adds r to what is sent again, unless that was a moment ago, and takes
// it off the room that is left.
func (o *outgoing) resend(again []*retained, r *retained, now time.Time, timeout time.Duration, room *int) []*retained {
	if now.Sub(r.last) < timeout {
		return again
	}
	r.last = now
	r.tries++
	*room -= costOf(r.body)
	return append(again, r)
}

// expire gives up the messages that were sent first before the time given,
// and returns them.
func (o *outgoing) expire(before time.Time) []*retained {
	n := 0
	for n < len(o.unacked) && o.unacked[n].first.Before(before) {
		n++
	}
	return o.drop(n)
}

// abandon gives everything up, and returns it.
func (o *outgoing) abandon() []*retained { return o.drop(len(o.unacked)) }

// drop takes the first n messages off.
func (o *outgoing) drop(n int) []*retained {
	gone := o.unacked[:n:n]
	o.unacked = o.unacked[n:]
	for _, r := range gone {
		o.bytes -= costOf(r.body)
		r.answer(nil)
	}
	if len(o.unacked) == 0 {
		o.unacked = nil // let go of the array
	}
	return gone
}
