package relay

import (
	"slices"
	"time"
)

// Limits of what is kept of the senders. What does not fit is not confirmed and
// comes again.
const (
	maxWaiting      = 8192     // messages of one sender behind a gap
	maxWaitingBytes = 16 << 20 // of those
	maxAheadBytes   = 64 << 20 // of those of all senders; see memory
	maxOpen         = 64 << 10 // messages of one sender that are not handled, and what is behind them
)

// incoming is the receiving half of one pair: what arrived from one sender and
// cannot be released yet because something before it is missing, and what was
// released and is not handled yet. It is pure state, without clock, I/O or
// lock, so that a model can drive it.
//
//bound:relay-incoming
type incoming struct {
	next    uint64              // the sequence number to release next; 0: nothing met yet
	waiting map[uint64]*Message // arrived ahead of next; nil when empty
	bytes   int                 // what they cost
	room    *memory             // for what waits of all senders
	moved   time.Time           // when next last moved, or the first message began to wait
	seen    time.Time           // when anything last arrived
	open    []*ticket           // released and not handled, or behind one that is not; ascending
	told    uint64              // the handled number that the last ack told
	acked   time.Time           // when that was
	remind  bool                // a repeat arrived: the sender has not heard the last ack
	replies replies             // that the sender may not have received
}

// ticket stands for a message that was released. It outlives the message, so
// that one that is not handled does not keep those behind it in memory.
type ticket struct {
	seq  uint64
	done bool
}

// verdict says what became of one message that arrived.
type verdict int

const (
	released verdict = iota // in its turn: released, perhaps with others after it
	kept                    // ahead of a gap: waiting
	repeated                // released before, or waiting already
	refused                 // no room, here or at the handler: it must come again
)

// accept takes one message and releases, through handle, every message whose
// turn has come. handle reports false when it cannot take a message now; the
// message then stays, or counts as not arrived.
func (in *incoming) accept(m *Message, lowest uint64, now time.Time, handle func(*Message) bool) verdict {
	in.seen = now
	in.replies.forget(lowest)
	if in.next == 0 {
		in.next = lowest
		in.told = lowest
	}
	if lowest > in.next && !in.skipTo(lowest, now, handle) {
		return refused
	}
	switch {
	case m.Seq < in.next:
		in.remind = true
		return repeated
	case m.Seq > in.next:
		return in.keep(m, now)
	case len(in.waiting) == 0 && in.hand(m, now, handle): // the rule: nothing missing, nothing waiting
		return released
	}
	v := in.keep(m, now)
	if v != refused && in.release(now, handle) > 0 {
		v = released
	}
	return v
}

// hand gives m, whose turn it is, to handle.
func (in *incoming) hand(m *Message, now time.Time, handle func(*Message) bool) bool {
	if len(in.open) >= maxOpen {
		return false
	}
	in.open = append(in.open, m.ticket) // before: handle may be done with it at once
	if !handle(m) {
		in.open = in.open[:len(in.open)-1]
		return false
	}
	in.next = m.Seq + 1
	in.moved = now
	return true
}

// settle notes that m was handled, with a reply if its sender wants one. It
// reports whether one ack holds no more than what there is to tell.
func (in *incoming) settle(m *Message, body []byte) (full bool) {
	m.ticket.done = true
	n := 0
	for n < len(in.open) && in.open[n].done {
		in.open[n] = nil
		n++
	}
	if in.open = in.open[n:]; len(in.open) == 0 {
		in.open = nil
	}
	if !m.wants {
		return false
	}
	return in.replies.add(reply{seq: m.Seq, body: body})
}

// clear lets go of all that is kept.
func (in *incoming) clear() {
	in.room.used -= in.bytes
	*in = incoming{room: in.room}
}

// handled is the number below which every message was handled or given up.
func (in *incoming) handled() uint64 {
	if len(in.open) > 0 {
		return in.open[0].seq
	}
	return in.next
}

// keep puts m aside until its turn comes.
func (in *incoming) keep(m *Message, now time.Time) verdict {
	if _, ok := in.waiting[m.Seq]; ok {
		return repeated
	}
	cost := costOf(m.Body)
	if len(in.waiting) >= maxWaiting || in.bytes+cost > maxWaitingBytes || !in.room.fits(in.bytes, cost) {
		return refused
	}
	if in.waiting == nil {
		in.waiting = make(map[uint64]*Message)
		in.moved = now
	}
	in.waiting[m.Seq] = m
	in.bytes += cost
	in.room.used += cost
	return kept
}

// release hands over what waits at next and directly after it, and reports
// how many messages that were.
func (in *incoming) release(now time.Time, handle func(*Message) bool) (n int) {
	for {
		m, ok := in.waiting[in.next]
		if !ok || !in.hand(m, now, handle) {
			return n
		}
		in.forget(m)
		n++
	}
}

// skipTo moves next up to lowest: the sender will send nothing below it again.
// What waits below lowest is released on the way. It reports false, having gone
// as far as it could, when handle refused one.
func (in *incoming) skipTo(lowest uint64, now time.Time, handle func(*Message) bool) bool {
	for _, seq := range in.order() {
		if seq >= lowest {
			break
		}
		in.next = seq
		if in.release(now, handle) == 0 {
			return false
		}
	}
	in.next = max(in.next, lowest)
	in.moved = now
	in.release(now, handle)
	return true
}

// giveUp skips the first gap when it has stood for longer than patience, and
// reports how many sequence numbers that were. Its sender is gone: a living
// one would have said that its lowest number is above the gap.
func (in *incoming) giveUp(now time.Time, patience time.Duration, handle func(*Message) bool) (skipped uint64) {
	if len(in.waiting) == 0 || now.Sub(in.moved) < patience {
		return 0
	}
	first := in.order()[0]
	skipped = first - in.next
	in.skipTo(first, now, handle)
	in.release(now, handle)
	return skipped
}

// gaps returns the runs of missing sequence numbers between next and the last
// message that waits, at most limit of them.
func (in *incoming) gaps(limit int) (gaps []span) {
	at := in.next
	for _, seq := range in.order() {
		if len(gaps) == limit {
			break
		}
		if seq > at {
			gaps = append(gaps, span{from: at, length: seq - at})
		}
		at = seq + 1
	}
	return gaps
}

func (in *incoming) forget(m *Message) {
	delete(in.waiting, m.Seq)
	in.bytes -= costOf(m.Body)
	in.room.used -= costOf(m.Body)
	if len(in.waiting) == 0 {
		in.waiting = nil
	}
}

// order returns the sequence numbers that wait, ascending.
func (in *incoming) order() []uint64 {
	seqs := make([]uint64, 0, len(in.waiting))
	for seq := range in.waiting {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	return seqs
}
