package front

import (
	"slices"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

const (
	// replayChunk is how many bytes of a replay are handed to the kernel at
	// once; what a client has not read yet waits outside its write queue.
	replayChunk = 16 << 10
	// replayStall is for how long a client may take nothing of its replay while
	// others wait for room.
	replayStall = loop.TicksPerSecond
	// stallBudget is how many replays a tick looks at for that.
	stallBudget = 256
)

// beginReplay sends the answer and the messages missed, as the client reads.
func (r *resumes) beginReplay(x *resume, missed hub.Missed) {
	c := x.c
	result := "recovered"
	if !missed.Recovered {
		result = "gone"
	}
	r.m.resumes.WithLabelValues(result).Inc()
	service := c.State.service.name()
	beside := r.sessions.replayedBeside(x)
	missed.Entries = slices.DeleteFunc(missed.Entries, func(e hub.Stored) bool {
		return len(e.Services) > 0 && !slices.Contains(e.Services, service) || beside(e.ID)
	})
	r.sessions.remember(x, missed.Entries)
	missed.Entries = slices.DeleteFunc(missed.Entries, x.given)
	r.m.replayed.Add(float64(len(missed.Entries)))
	x.replay.chunks = replayChunks(r.sessions.protocols.of(c), missed, x)
	size := 0
	for _, chunk := range x.replay.chunks {
		size += len(chunk)
	}
	r.budget.reserve(x, size-x.replay.reserved)
	x.phase, x.until = resumeSending, r.loop.Now()+r.cfg.replay
	x.replay.turn = r.budget.sending.PushBack(x)
	r.feed(x)
}

// given reports whether x leaves e out, because the client has been given it and says
// so: it asks for what it has missed, not for all that there is. A client that asks for
// its inbox by a message has all of it: as what it has heard since hello may be newer than
// what is replayed, only so it can put both in order.
func (x *resume) given(e hub.Stored) bool {
	t := x.c.State.trail()
	if t == nil || !x.promised && (x.after == "" || x.ofInbox()) {
		return false
	}
	return x.promised && e.Again || t.has([]byte(e.ID))
}

// replayChunks builds what a replay is on p's wire.
func replayChunks(p protocol, missed hub.Missed, x *resume) (chunks [][]byte) {
	begin := outgoing{kind: kindResumed, body: resumedText(x, len(missed.Entries), missed), to: x.c, recovered: missed.Recovered}
	chunk := p.appendMessage(nil, begin)
	for i := range missed.Entries {
		e := &missed.Entries[i]
		if len(chunk)+len(e.Payload) > replayChunk {
			chunks = append(chunks, slices.Clip(chunk))
			chunk = make([]byte, 0, max(replayChunk, len(e.Payload)+messageOverhead))
		}
		chunk = p.appendMessage(chunk, outgoing{id: []byte(e.ID), body: e.Payload, to: x.c, at: e.At})
	}
	if x.ofInbox() {
		chunk = p.appendMessage(chunk, outgoing{kind: kindPlace, id: []byte(missed.Last), to: x.c})
	}
	return append(chunks, chunk)
}

// messageOverhead is about what a protocol adds to a message on its wire.
const messageOverhead = 128

// feed gives the kernel one chunk after the other until it takes no more; then
// it is called again when the write queue is empty. After the last, what was
// held follows. Chunks are control messages, which the queue does not bound.
func (r *resumes) feed(x *resume) {
	c, p := x.c, &x.replay
	for !c.Waiting() && c.State.stage == stageOpen {
		r.budget.giveBack(x, p.flying)
		p.flying = 0
		if len(p.chunks) == 0 {
			r.endReplay(x)
			return
		}
		chunk := p.chunks[0]
		p.chunks[0] = nil
		p.chunks = p.chunks[1:]
		p.flying, p.progress = len(chunk), r.loop.Now()
		r.budget.sending.MoveToBack(p.turn)
		r.loop.Send(c, &loop.Message{Data: chunk}) // may drop c
	}
}

// endReplay sends what was held: the client has been given all that it missed.
func (r *resumes) endReplay(x *resume) {
	r.budget.leave(x)
	x.until = r.loop.Now() + r.cfg.memory
	r.sessions.release(x.c)
	r.next(x.c)
	r.startReads()
}

// flushed goes on with c's replay when all that waited has been written.
func (r *resumes) flushed(c *conn) {
	for _, x := range c.State.allResumes() {
		if x.phase == resumeSending {
			r.feed(x)
		}
	}
}

// tick takes what inboxes have been found to hold, in case that a post was
// refused, has inboxes read in the room that connections which have ended left,
// and makes room for those who wait still, at the cost of clients that have
// stopped reading their replay.
func (r *resumes) tick() {
	r.takeFound()
	b := r.budget
	r.m.replayBytes.Set(float64(b.used))
	r.startReads()
	r.m.waitingResumes.Set(float64(b.waiting.Len()))
	for budget := stallBudget; budget > 0 && b.waiting.Len() > 0 && !b.hasRoom() && b.sending.Len() > 0; budget-- {
		x := b.sending.Front().Value.(*resume)
		p := &x.replay
		p.progress = max(p.progress, x.c.Progress())
		if r.loop.Now()-p.progress >= replayStall {
			r.cut(x.c)
			r.startReads()
		} else {
			b.sending.MoveToBack(p.turn)
		}
	}
}

// cut closes a connection that does not read its replay.
func (r *resumes) cut(c *conn) {
	r.m.slowReplays.Inc()
	r.sessions.cut(c, drop.SlowConsumer, closeSlowConsumer, "slow consumer")
}
