package front

import (
	"context"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// Inbox is where notifications are kept for users. Read and Ack may block
// until ctx ends and are called from several goroutines.
type Inbox interface {
	// Read returns what a client has missed that saw the notification with
	// the id after last. What is stored before the call is found.
	Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error)
	// Ack lets go of what a client has acknowledged.
	Ack(ctx context.Context, user hub.UserID, ids []string) error
	// Largest is about the most bytes that Read returns.
	Largest() int
}

// maxUserResumes is how many connections of one user resume at the same time.
const maxUserResumes = 4

// resumePhase is how far a resume has come. It only ever grows.
type resumePhase uint8

const (
	resumeWaiting resumePhase = iota // for room in the budget of replays
	resumeReading                    // the inbox
	resumeSending                    // as the client reads
	resumeDone                       // what was replayed is remembered
)

// resume is a connection's catching up. It begins with the client's request.
// Until the replay has been sent, what arrives for the connection is held. What
// comes later and was replayed already is left out, for as long as it may still
// come. Owned by the loop.
type resume struct {
	ref      jsontext.Value
	after    string
	phase    resumePhase
	ended    bool // with the connection, or in vain
	held     []held
	bytes    int      // of held
	replayed []uint64 // hashes of ids, in order
	until    uint32   // tick at which the phase ends; not of resumeReading
	replay   replay
}

// active reports whether live messages must wait for the replay to go first.
func (r *resume) active() bool { return r != nil && r.phase < resumeDone }

// held is a live message that waits for the replay to go first.
type held struct {
	message

	id string
}

// resuming returns c's resume, or nil.
func (c *conn) resuming() *resume {
	if c.side == nil {
		return nil
	}
	return c.side.resume
}

// forgetResume ends c's resume.
func (w *Worker) forgetResume(c *conn, r *resume) {
	r.ended = true
	w.leaveReplays(c, r)
	c.side.resume = nil
	if c.side.tls == nil {
		c.side = nil
	}
}

// inboxJob is something for the goroutines that talk to the inbox. It calls
// back by post.
type inboxJob func(ctx context.Context)

// tendInbox does jobs until there are no more, resumes first. ctx ends what
// takes too long.
func (w *Worker) tendInbox(ctx context.Context) {
	for {
		job, ok := w.nextInboxJob()
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, w.cfg.ResumeTimeout)
		job(ctx)
		cancel()
	}
}

// nextInboxJob waits for a job; none: the worker has stopped.
func (w *Worker) nextInboxJob() (job inboxJob, ok bool) {
	select {
	case job, ok = <-w.resumeJobs:
		return job, ok
	default:
	}
	select {
	case job, ok = <-w.resumeJobs:
	case job, ok = <-w.ackJobs:
	}
	return job, ok
}

// resume takes a client's request to be told what it missed.
func (w *Worker) resume(c *conn, in *incoming) {
	switch {
	case w.deps.Inbox == nil:
		w.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	case in.after.faulty:
		w.answer(c, `{"t":"error","code":"bad_json"`, in.ref)
	case c.state != stateOpen:
		w.answer(c, `{"t":"error","of":"resume","code":"too_early"`, in.ref)
	case c.resuming() != nil:
		w.answer(c, `{"t":"error","of":"resume","code":"already_resumed"`, in.ref)
	default:
		w.beginResume(c, in.after.value, in.ref)
	}
}

func (w *Worker) beginResume(c *conn, after string, ref jsontext.Value) {
	if exceeded := w.charge(c, useInbox, resumeCost); exceeded != "" {
		w.m.overBudget.WithLabelValues(exceeded).Inc()
		w.m.resumes.WithLabelValues("rate_limited").Inc()
		w.answer(c, `{"t":"error","of":"resume","code":"rate_limited"`, ref)
		return
	}
	if w.replays.waiting.Len() >= w.cfg.ResumeQueue || c.link != nil && c.link.group.resuming >= maxUserResumes {
		w.m.resumes.WithLabelValues("busy").Inc()
		w.answer(c, resumeFailed, ref)
		return
	}
	if c.side == nil {
		c.side = &side{}
	}
	c.side.resume = &resume{ref: ref, after: after, until: w.now + w.limits.resumeWait}
	w.joinReplays(c)
	w.arm(c)
}

const resumeFailed = `{"t":"error","of":"resume","code":"unavailable"`

// readInbox has the inbox read for c, whose turn has come.
func (w *Worker) readInbox(c *conn) {
	r := c.resuming()
	r.phase = resumeReading
	user := c.user
	w.resumeJobs <- func(ctx context.Context) {
		missed, err := w.deps.Inbox.Read(ctx, user, r.after)
		w.Post(func() { w.resumed(c, r, missed, err) })
	}
	w.arm(c)
}

// resumed goes on with a connection whose inbox has been read.
func (w *Worker) resumed(c *conn, r *resume, missed hub.Missed, err error) {
	w.replays.reading--
	switch {
	case r.ended:
		w.m.resumes.WithLabelValues("abandoned").Inc()
		w.replays.giveBack(r, r.replay.reserved)
	case err != nil:
		w.m.resumes.WithLabelValues("unavailable").Inc()
		w.trace(c, "resume failed", "err", err)
		w.replays.giveBack(r, r.replay.reserved)
		w.resumeInVain(c, r)
	default:
		w.beginReplay(c, r, missed)
	}
	w.arm(c)
	w.startReads()
}

// resumeInVain tells c that it cannot be told what it missed now.
func (w *Worker) resumeInVain(c *conn, r *resume) {
	w.forgetResume(c, r)
	w.answer(c, resumeFailed, r.ref)
	w.release(c, r)
}

func resumedText(count int, missed hub.Missed, ref jsontext.Value) []byte {
	b := append(make([]byte, 0, 80+len(missed.Last)+len(ref)), `{"t":"resumed","recovered":`...)
	b = strconv.AppendBool(b, missed.Recovered)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(count), 10)
	b = append(b, `,"last":`...)
	b, _ = jsontext.AppendQuote(b, missed.Last) // an id is ASCII
	return appendRef(b, ref)
}

// release sends what was held, as far as the connection lives.
func (w *Worker) release(c *conn, r *resume) {
	waiting := r.held
	r.held, r.bytes = nil, 0
	for i := range waiting {
		switch m := &waiting[i]; {
		case c.state != stateOpen:
			w.m.dropped[dropClosed][m.class].Inc()
		case w.repeats(r, []byte(m.id)):
			w.m.repeats.Inc()
		default:
			w.send(c, &m.message)
		}
	}
}

// give sends c a message of the hub with the given notification id, which is
// only lent: at once, or after the replay, or not at all if it was in that.
func (w *Worker) give(c *conn, m *message, id []byte) hub.Status {
	r := c.resuming()
	switch {
	case r == nil:
		return w.send(c, m)
	case r.active():
		return w.hold(c, r, m, id)
	}
	if w.repeats(r, id) {
		w.m.repeats.Inc()
		return hub.StatusWritten
	}
	return w.send(c, m)
}

// hold keeps m until the replay has gone. A connection for which too much
// arrives meanwhile is closed as a slow consumer, and resumes again.
func (w *Worker) hold(c *conn, r *resume, m *message, id []byte) hub.Status {
	if m.replaces() && r.remove(m) {
		w.m.dropped[dropReplaced][m.class].Inc()
	}
	if r.bytes+len(m.data) > w.bounds.bytes || len(r.held) >= w.bounds.count {
		w.m.dropped[dropSlow][m.class].Inc()
		w.cut(c, dropSlow, closeSlowConsumer, "slow consumer")
		return hub.StatusDropped
	}
	r.held = append(r.held, held{*m, string(id)})
	r.bytes += len(m.data)
	w.retained = true
	return hub.StatusQueued
}

// remove takes out the held message that m makes obsolete, if there is one.
func (r *resume) remove(m *message) bool {
	i := slices.IndexFunc(r.held, func(h held) bool { return h.obsoleteBy(m) })
	if i < 0 {
		return false
	}
	r.bytes -= len(r.held[i].data)
	r.held = slices.Delete(r.held, i, i+1)
	return true
}

// endResume ends the resume of a connection that ends.
func (w *Worker) endResume(c *conn) {
	if r := c.resuming(); r != nil {
		w.giveUpHeld(c, dropClosed)
		w.forgetResume(c, r)
	}
}

// giveUpHeld counts as given up what waits for a replay to go first.
func (w *Worker) giveUpHeld(c *conn, why reason) {
	if r := c.resuming(); r != nil {
		for i := range r.held {
			w.m.dropped[why][r.held[i].class].Inc()
		}
		r.held, r.bytes = nil, 0
	}
}

// expireResume ends the phase that a resume has been in for too long. What was
// replayed is forgotten once none of it can come again, so that the client may
// resume anew; one that has not read all that followed the replay waits.
func (w *Worker) expireResume(c *conn, r *resume) {
	switch {
	case r.phase == resumeWaiting:
		w.m.resumes.WithLabelValues("busy").Inc()
		w.resumeInVain(c, r)
	case r.phase == resumeSending:
		w.cutReplay(c)
	case c.out != nil:
		r.until = w.now + w.limits.resume
	default:
		w.forgetResume(c, r)
	}
}
