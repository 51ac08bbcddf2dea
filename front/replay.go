package front

import (
	"container/list"
	"slices"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

const (
	// replayChunk is how many bytes of a replay are handed to the kernel at
	// once; what a client has not read yet waits outside its outbox.
	replayChunk = 16 << 10
	// replayStall is for how long a client may take nothing of its replay while
	// others wait for room.
	replayStall = uint32(ticksPerSecond)
)

// replays share the budget of bytes for what clients have missed: what is read
// from the inbox, and what they have not taken yet. A resume waits until there
// is room for the largest inbox there may be. Owned by the loop.
type replays struct {
	limit   int // bytes
	largest int // reserved for one read
	used    int // bytes
	reading int // reads under way

	waiting *list.List // of *conn: those whose inbox is not read yet, first come first
	sending *list.List // of *conn: those longest without progress first
}

// replay is one connection's part in it.
type replay struct {
	reserved int      // bytes of the budget
	chunks   [][]byte // what the kernel has not been given yet, whole frames each
	flying   int      // bytes of the chunk that waits in the outbox
	place    *list.Element
	progress uint32 // tick at which the last chunk was given to the kernel
}

// newReplays reserves twice what the inbox returns at most for a read: while
// its frames are built it is there twice.
func newReplays(limit int, inbox Inbox) replays {
	q := replays{limit: limit, waiting: list.New(), sending: list.New()}
	if inbox != nil {
		q.largest = 2 * inbox.Largest()
	}
	return q
}

// hasRoom reports whether one more inbox may be read. A budget that is too
// small for one has room for one.
func (q *replays) hasRoom() bool { return q.used == 0 || q.used+q.largest <= q.limit }

func (q *replays) reserve(r *resume, n int) {
	r.replay.reserved += n
	q.used += n
}

func (q *replays) giveBack(r *resume, n int) { q.reserve(r, -n) }

// joinReplays has c wait for its turn, which may come at once.
func (w *Worker) joinReplays(c *conn) {
	if c.link != nil {
		c.link.group.resuming++
	}
	c.resuming().replay.place = w.replays.waiting.PushBack(c)
	w.startReads()
}

// startReads has inboxes read for those who wait, as far as there is room.
func (w *Worker) startReads() {
	q := &w.replays
	for q.waiting.Len() > 0 && q.reading < w.cfg.ResumeWorkers && q.hasRoom() {
		c := q.waiting.Remove(q.waiting.Front()).(*conn)
		r := c.resuming()
		r.replay.place = nil
		q.reserve(r, q.largest)
		q.reading++
		w.readInbox(c)
	}
}

// leaveReplays ends c's part in it, but for the room of a read under way, which
// is given back when that has ended.
func (w *Worker) leaveReplays(c *conn, r *resume) {
	if !r.active() {
		return
	}
	if c.link != nil {
		c.link.group.resuming--
	}
	q := &w.replays
	switch r.phase {
	case resumeWaiting:
		q.waiting.Remove(r.replay.place)
	case resumeSending:
		q.sending.Remove(r.replay.place)
		q.giveBack(r, r.replay.reserved)
	case resumeReading, resumeDone:
	}
	r.phase = resumeDone
	r.replay.chunks, r.replay.place = nil, nil
}

// beginReplay sends the answer and the messages missed, as the client reads.
func (w *Worker) beginReplay(c *conn, r *resume, missed hub.Missed) {
	result := "recovered"
	if !missed.Recovered {
		result = "gone"
	}
	w.m.resumes.WithLabelValues(result).Inc()
	service := c.service.name()
	missed.Entries = slices.DeleteFunc(missed.Entries, func(e hub.Stored) bool {
		return len(e.Services) > 0 && !slices.Contains(e.Services, service)
	})
	w.m.replayed.Add(float64(len(missed.Entries)))
	w.remember(r, missed.Entries)
	r.replay.chunks = replayChunks(missed, r)
	size := 0
	for _, chunk := range r.replay.chunks {
		size += len(chunk)
	}
	w.replays.reserve(r, size-r.replay.reserved)
	r.phase, r.until = resumeSending, w.now+w.limits.replay
	r.replay.place = w.replays.sending.PushBack(c)
	w.feed(c, r)
}

// remember notes what need not be sent again. As every connection that resumed
// keeps it for a while, that is a hash of each id, see heard.
func (w *Worker) remember(r *resume, entries []hub.Stored) {
	r.replayed = make([]uint64, len(entries))
	for i := range entries {
		r.replayed[i] = w.heard.key([]byte(entries[i].ID), nil)
	}
	slices.Sort(r.replayed)
}

// repeats reports whether the notification with the given id, which is only
// lent, was replayed to r.
func (w *Worker) repeats(r *resume, id []byte) bool {
	if len(r.replayed) == 0 {
		return false
	}
	_, known := slices.BinarySearch(r.replayed, w.heard.key(id, nil))
	return known
}

// replayChunks builds the frames of a replay.
func replayChunks(missed hub.Missed, r *resume) (chunks [][]byte) {
	chunk := ws.Frame(ws.OpText, resumedText(len(missed.Entries), missed, r.ref))
	for i := range missed.Entries {
		payload := missed.Entries[i].Payload
		if len(chunk)+len(payload) > replayChunk {
			chunks = append(chunks, slices.Clip(chunk))
			chunk = make([]byte, 0, max(replayChunk, ws.FrameSize(len(payload))))
		}
		chunk = ws.AppendFrame(chunk, ws.OpText, payload)
	}
	return append(chunks, chunk)
}

// feed gives the kernel one chunk after the other until it takes no more; then
// it is called again when the outbox is empty. After the last, what was held
// follows. Chunks are control messages, which the outbox does not bound.
func (w *Worker) feed(c *conn, r *resume) {
	p := &r.replay
	for c.out == nil && c.state == stateOpen {
		w.replays.giveBack(r, p.flying)
		p.flying = 0
		if len(p.chunks) == 0 {
			w.endReplay(c, r)
			return
		}
		chunk := p.chunks[0]
		p.chunks[0] = nil
		p.chunks = p.chunks[1:]
		p.flying, p.progress = len(chunk), w.now
		w.replays.sending.MoveToBack(p.place)
		w.send(c, &message{data: chunk, control: true}) // may end c
	}
}

// endReplay sends what was held: the client has been given all that it missed.
func (w *Worker) endReplay(c *conn, r *resume) {
	w.leaveReplays(c, r)
	r.until = w.now + w.limits.resume
	w.release(c, r)
	w.startReads()
}

// tendReplays has inboxes read in the room that connections which have ended
// left, and makes room for those who wait still, at the cost of clients that
// have stopped reading their replay.
func (w *Worker) tendReplays() {
	q := &w.replays
	w.m.replayBytes.Set(float64(q.used))
	w.startReads()
	w.m.waitingResumes.Set(float64(q.waiting.Len()))
	for budget := scanBudget; budget > 0 && q.waiting.Len() > 0 && !q.hasRoom() && q.sending.Len() > 0; budget-- {
		c := q.sending.Front().Value.(*conn)
		p := &c.resuming().replay
		if c.out != nil {
			p.progress = max(p.progress, c.out.progress)
		}
		if w.now-p.progress >= replayStall {
			w.cutReplay(c)
			w.startReads()
		} else {
			q.sending.MoveToBack(p.place)
		}
	}
}

// cutReplay closes a connection that does not read its replay.
func (w *Worker) cutReplay(c *conn) {
	w.m.slowReplays.Inc()
	w.cut(c, dropSlow, closeSlowConsumer, "slow consumer")
}
