package front

import (
	"context"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
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
	resumePromised resumePhase = iota // with the request: it begins after hello
	resumeWaiting                     // for room in the budget of replays
	resumeReading                     // the inbox
	resumeSending                     // as the client reads
	resumeDone                        // what was replayed is remembered
)

// resume is a connection's catching up. It begins with the client's request.
// Until the replay has been sent, what arrives for the connection is held. What
// comes later and was replayed already is left out, for as long as it may still
// come. The loop owns it.
type resume struct {
	ref      jsontext.Value
	after    string
	phase    resumePhase
	ended    bool // with the connection, or in vain
	promised bool // the client asked with its request, and cannot ask again
	held     []held
	bytes    int       // of held
	replayed []uint64  // hashes of ids, in order
	until    loop.Tick // when the phase ends; not of resumeReading
	replay   replay
}

// active reports whether live messages must wait for the replay to go first.
func (r *resume) active() bool { return r != nil && r.phase < resumeDone }

// counts reports whether r is one of the resumes that a user may have at a time.
func (r *resume) counts() bool { return r.active() && r.phase > resumePromised }

// due is when the phase ends; 0: it does not by itself.
func (r *resume) due() loop.Tick {
	if r == nil || r.phase == resumePromised || r.phase == resumeReading {
		return 0
	}
	return r.until
}

// resumes serves what clients ask of their inboxes: it replays what they have
// missed, and takes acknowledgements. The loop owns it, but for the jobs.
type resumes struct {
	tracer

	loop     *loop.Loop[client]
	sessions *sessions
	m        *metrics
	inbox    Inbox // nil: clients cannot resume
	budget   *replayBudget
	cfg      resumeConfig

	reads chan inboxJob // to be done before acks
	acks  chan inboxJob
	found chan found // has room for what all reads under way find
}

// found is what a read of c's inbox has come to.
type found struct {
	c      *conn
	x      *resume
	missed hub.Missed
	err    error
}

// resumeConfig are the bounds of resumes.
type resumeConfig struct {
	workers, queue       int
	timeout              time.Duration // of one job
	wait, memory, replay loop.Tick
}

// inboxJob is something for the goroutines that talk to the inbox.
//
//bound:inbox-jobs
type inboxJob func(ctx context.Context)

// work does jobs until there are no more, reads first. ctx ends what takes too
// long.
func (r *resumes) work(ctx context.Context) {
	for {
		job, ok := r.nextJob()
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, r.cfg.timeout)
		job(ctx)
		cancel()
	}
}

// nextJob waits for a job; none: the worker has stopped.
func (r *resumes) nextJob() (job inboxJob, ok bool) {
	select {
	case job, ok = <-r.reads:
		return job, ok
	default:
	}
	select {
	case job, ok = <-r.reads:
	case job, ok = <-r.acks:
	}
	return job, ok
}

// close ends the work once what was asked is done. Only after the loop.
func (r *resumes) close() {
	close(r.reads)
	close(r.acks)
}

// resume takes a client's request to be told what it missed.
func (r *resumes) resume(c *conn, in *incoming) {
	switch {
	case r.inbox == nil:
		r.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	case in.after.faulty:
		r.sessions.answer(c, `{"t":"error","code":"bad_json"`, in.ref)
	case c.State.stage != stageOpen:
		r.sessions.answer(c, `{"t":"error","of":"resume","code":"too_early"`, in.ref)
	case c.State.resuming() != nil:
		r.sessions.answer(c, `{"t":"error","of":"resume","code":"already_resumed"`, in.ref)
	default:
		r.begin(c, in.after.value, in.ref)
	}
}

// begin has what c has missed since after be replayed, in its turn.
func (r *resumes) begin(c *conn, after string, ref jsontext.Value) {
	if result, answer := r.refusal(c); result != "" {
		r.m.resumes.WithLabelValues(result).Inc()
		r.sessions.answer(c, answer, ref)
		return
	}
	c.State.more().resume = &resume{ref: ref, after: after}
	r.join(c)
}

// beginPromised is begin for what c was promised with its request. It cannot ask
// again, so its connection ends when this comes to nothing: its place stays where
// it is, and it comes back.
func (r *resumes) beginPromised(c *conn) {
	if r.inbox == nil { // there is nothing that it could have missed
		x := c.State.resuming()
		r.sessions.forgetResume(c, x)
		r.sessions.release(c, x)
		return
	}
	if result, answer := r.refusal(c); result != "" {
		r.m.resumes.WithLabelValues(result).Inc()
		r.breakPromise(c, answer)
		return
	}
	r.join(c)
}

// refusal says why c cannot resume now, as it is counted and answered; empty: it can.
func (r *resumes) refusal(c *conn) (result, answer string) {
	if exceeded := r.sessions.charge(c, useInbox, resumeCost); exceeded != "" {
		r.m.overBudget.WithLabelValues(exceeded).Inc()
		return "rate_limited", `{"t":"error","of":"resume","code":"rate_limited"`
	}
	if g := c.State.group(); r.budget.waiting.Len() >= r.cfg.queue || g != nil && g.resuming >= maxUserResumes {
		return "busy", resumeFailed
	}
	return "", ""
}

// join has c wait for its turn.
func (r *resumes) join(c *conn) {
	x := c.State.resuming()
	x.phase, x.until = resumeWaiting, r.loop.Now()+r.cfg.wait
	r.budget.join(c)
	r.startReads()
	r.loop.Arm(c)
}

const resumeFailed = `{"t":"error","of":"resume","code":"unavailable"`

// breakPromise ends a connection that cannot be told what it has missed.
func (r *resumes) breakPromise(c *conn, answer string) {
	r.sessions.answer(c, answer, nil)
	r.sessions.close(c, ws.CloseTryAgainLater, "what was missed cannot be told now")
}

// startReads has inboxes read for those who wait, as far as there is room.
func (r *resumes) startReads() {
	for r.budget.waiting.Len() > 0 && r.budget.reading < r.cfg.workers && r.budget.hasRoom() {
		r.read(r.budget.next())
	}
}

// read has the inbox read for c, whose turn has come.
func (r *resumes) read(c *conn) {
	x := c.State.resuming()
	x.phase = resumeReading
	user := c.State.user
	r.reads <- func(ctx context.Context) {
		missed, err := r.inbox.Read(ctx, user, x.after)
		r.found <- found{c, x, missed, err}
		r.loop.Post(r.takeFound) // refused: the next tick takes it
	}
	r.loop.Arm(c)
}

// takeFound goes on with the connections whose inboxes have been read.
func (r *resumes) takeFound() {
	for range len(r.found) {
		f := <-r.found
		r.resumed(f.c, f.x, f.missed, f.err)
	}
}

// resumed goes on with a connection whose inbox has been read.
func (r *resumes) resumed(c *conn, x *resume, missed hub.Missed, err error) {
	r.budget.reading--
	switch {
	case x.ended:
		r.m.resumes.WithLabelValues("abandoned").Inc()
		r.budget.giveBack(x, x.replay.reserved)
	case err != nil:
		r.m.resumes.WithLabelValues("unavailable").Inc()
		r.trace(c, "resume failed", "err", err)
		r.budget.giveBack(x, x.replay.reserved)
		r.inVain(c, x)
	default:
		r.beginReplay(c, x, missed)
	}
	r.loop.Arm(c)
	r.startReads()
}

// inVain tells c that it cannot be told what it missed now.
func (r *resumes) inVain(c *conn, x *resume) {
	if x.promised {
		r.breakPromise(c, resumeFailed)
		return
	}
	r.sessions.forgetResume(c, x)
	r.sessions.answer(c, resumeFailed, x.ref)
	r.sessions.release(c, x)
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

// expire ends the phase that a resume has been in for too long. What was
// replayed is forgotten once none of it can come again, so that the client may
// resume anew; one that has not read all that followed the replay waits.
func (r *resumes) expire(c *conn, x *resume) {
	switch {
	case x.phase == resumeWaiting:
		r.m.resumes.WithLabelValues("busy").Inc()
		r.inVain(c, x)
	case x.phase == resumeSending:
		r.cut(c)
	case c.Waiting():
		x.until = r.loop.Now() + r.cfg.memory
	default:
		r.sessions.forgetResume(c, x)
	}
}
