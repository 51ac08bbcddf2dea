package front

import (
	"container/list"

	"github.com/homing/homing/front/loop"
)

// replayBudget shares out the bytes for what clients have missed: what is read
// from the inbox, and what they have not taken yet. A resume waits until there
// is room for the largest inbox there may be. The loop owns it.
//
//bound:replays
type replayBudget struct {
	limit   int // bytes
	largest int // reserved for one read
	used    int // bytes
	reading int // reads under way

	waiting list.List // of *resume: those for whom nothing is read yet, first come first
	sending list.List // of *resume: those longest without progress first
}

// replay is one connection's part in it.
type replay struct {
	reserved int      // bytes of the budget
	chunks   [][]byte // what the kernel has not been given yet, whole messages each
	flying   int      // bytes of the chunk that waits in the write queue
	turn     *list.Element
	progress loop.Tick // when the last chunk was given to the kernel
}

// newReplayBudget reserves twice what the inbox, which may be nil, returns at
// most for a read: while its messages are built it is there twice.
func newReplayBudget(limit int, inbox Inbox) *replayBudget {
	b := &replayBudget{limit: limit}
	if inbox != nil {
		b.largest = 2 * inbox.Largest()
	}
	return b
}

// hasRoom reports whether one more inbox may be read. A budget that is too
// small for one has room for one.
func (b *replayBudget) hasRoom() bool { return b.used == 0 || b.used+b.largest <= b.limit }

func (b *replayBudget) reserve(r *resume, n int) {
	r.replay.reserved += n
	b.used += n
}

func (b *replayBudget) giveBack(r *resume, n int) { b.reserve(r, -n) }

// join has r wait for its turn.
func (b *replayBudget) join(r *resume) {
	if g := r.c.State.group(); g != nil && r.ofInbox() {
		g.resuming++
	}
	r.replay.turn = b.waiting.PushBack(r)
}

// next takes out the resume whose turn it is, and reserves the room for what it reads.
func (b *replayBudget) next() *resume {
	r := b.waiting.Remove(b.waiting.Front()).(*resume)
	r.replay.turn = nil
	b.reserve(r, b.largest)
	b.reading++
	return r
}

// leave ends r's part in it, but for the room of a read under way, which is given
// back when that has ended.
func (b *replayBudget) leave(r *resume) {
	if !r.active() {
		return
	}
	if g := r.c.State.group(); g != nil && r.ofInbox() && r.phase > resumeAwaiting {
		g.resuming--
	}
	switch r.phase {
	case resumeWaiting:
		b.waiting.Remove(r.replay.turn)
	case resumeSending:
		b.sending.Remove(r.replay.turn)
		b.giveBack(r, r.replay.reserved)
	case resumePromised, resumeAwaiting, resumeReading, resumeDone:
	}
	r.phase = resumeDone
	r.replay.chunks, r.replay.turn = nil, nil
}
