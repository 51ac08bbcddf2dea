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
func (r *resumes) beginReplay(c *conn, x *resume, missed hub.Missed) {
	result := "recovered"
	if !missed.Recovered {
		result = "gone"
	}
	r.m.resumes.WithLabelValues(result).Inc()
	service := c.State.service.name()
	missed.Entries = slices.DeleteFunc(missed.Entries, func(e hub.Stored) bool {
		return len(e.Services) > 0 && !slices.Contains(e.Services, service)
	})
	r.m.replayed.Add(float64(len(missed.Entries)))
	r.sessions.remember(x, missed.Entries)
	x.replay.chunks = replayChunks(r.sessions.protocols.of(c), missed, x)
	size := 0
	for _, chunk := range x.replay.chunks {
		size += len(chunk)
	}
	r.budget.reserve(x, size-x.replay.reserved)
	x.phase, x.until = resumeSending, r.loop.Now()+r.cfg.replay
	x.replay.turn = r.budget.sending.PushBack(c)
	r.feed(c, x)
}

// replayChunks builds what a replay is on p's wire.
func replayChunks(p protocol, missed hub.Missed, x *resume) (chunks [][]byte) {
	chunk := p.appendMessage(nil, outgoing{kind: kindResumed, body: resumedText(len(missed.Entries), missed, x.ref)})
	for i := range missed.Entries {
		e := &missed.Entries[i]
		if len(chunk)+len(e.Payload) > replayChunk {
			chunks = append(chunks, slices.Clip(chunk))
			chunk = make([]byte, 0, max(replayChunk, len(e.Payload)+messageOverhead))
		}
		chunk = p.appendMessage(chunk, outgoing{id: []byte(e.ID), body: e.Payload})
	}
	chunk = p.appendMessage(chunk, outgoing{kind: kindPlace, id: []byte(missed.Last)})
	return append(chunks, chunk)
}

// messageOverhead is about what a protocol adds to a message on its wire.
const messageOverhead = 128

// feed gives the kernel one chunk after the other until it takes no more; then
// it is called again when the write queue is empty. After the last, what was
// held follows. Chunks are control messages, which the queue does not bound.
func (r *resumes) feed(c *conn, x *resume) {
	p := &x.replay
	for !c.Waiting() && c.State.stage == stageOpen {
		r.budget.giveBack(x, p.flying)
		p.flying = 0
		if len(p.chunks) == 0 {
			r.endReplay(c, x)
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
func (r *resumes) endReplay(c *conn, x *resume) {
	r.budget.leave(c, x)
	x.until = r.loop.Now() + r.cfg.memory
	r.sessions.release(c, x)
	r.startReads()
}

// flushed goes on with c's replay when all that waited has been written.
func (r *resumes) flushed(c *conn) {
	if x := c.State.resuming(); x != nil && x.phase == resumeSending {
		r.feed(c, x)
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
		c := b.sending.Front().Value.(*conn)
		p := &c.State.resuming().replay
		p.progress = max(p.progress, c.Progress())
		if r.loop.Now()-p.progress >= replayStall {
			r.cut(c)
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
