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

// Inbox is where notifications are kept for users. Read, Ack and Anchor may block
// until ctx ends and are called from several goroutines.
type Inbox interface {
	// Read returns what a client has missed that saw the notification with
	// the id after last. What is stored before the call is found.
	Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error)
	// Ack lets go of what a client has acknowledged.
	Ack(ctx context.Context, user hub.UserID, ids []string) error
	// Anchor returns a place to resume from for a client that begins now and has seen
	// nothing: the id of a notification that is not on its way any more; empty: none.
	Anchor(ctx context.Context, user hub.UserID) (id string, err error)
	// Largest is about the most bytes that Read returns.
	Largest() int
}

// maxUserResumes is how many connections of one user resume at the same time.
const maxUserResumes = 4

// resumePhase is how far a resume has come. It only ever grows.
type resumePhase uint8

const (
	resumePromised resumePhase = iota // with the request: it begins after hello
	resumeAwaiting                    // something new; of a client that polls
	resumeWaiting                     // for room in the budget of replays
	resumeReading                     // the inbox
	resumeSending                     // as the client reads
	resumeDone                        // what was replayed is remembered
)

// Histories is where what topics were told is kept. Read may block until ctx ends and
// is called from several goroutines.
type Histories interface {
	// Read returns what a client has missed of topic that saw the notification with
	// the id after last. What is kept before the call is found.
	Read(ctx context.Context, topic hub.Topic, after string) (hub.Missed, error)
}

// resume is a connection's catching up with its user's inbox, or with a topic. It begins with the client's request.
// Until the replay has been sent, what arrives for the connection is held. What
// comes later and was replayed already is left out, for as long as it may still
// come. The loop owns it.
type resume struct {
	c        *conn
	topic    hub.Topic // empty: the inbox
	ref      jsontext.Value
	after    string
	phase    resumePhase
	ended    bool      // with the connection, or in vain
	promised bool      // the client asked with its request, and cannot ask again
	member   bool      // of the topic, or of an inbox that was asked for: it may begin
	made     bool      // it has made the connection a member of the topic
	replayed []uint64  // hashes of ids, in order
	until    loop.Tick // when the phase ends; not of resumeReading
	replay   replay
	pull     *pull // it answers a client that polls; nil: it replays
}

// ofInbox reports whether r is of an inbox and not of a topic.
func (r *resume) ofInbox() bool { return r.topic == "" }

// active reports whether live messages must wait for the replay to go first.
func (r *resume) active() bool { return r != nil && r.phase < resumeDone }

// counts reports whether r is one of the resumes that a user may have at a time.
func (r *resume) counts() bool { return r.active() && r.phase > resumeAwaiting }

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
	inbox    Inbox  // nil: clients cannot resume
	pulls    *pulls // nil: nobody polls
	topics   *topics
	kept     Histories // nil: of topics nothing is kept
	budget   *replayBudget
	cfg      resumeConfig

	reads chan inboxJob // to be done before acks
	acks  chan inboxJob
	found chan found // has room for what all reads under way find
}

// found is what a read has come to.
type found struct {
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
	c.State.more().resume = &resume{c: c, ref: ref, after: after, member: true}
	r.next(c)
}

// beginPromised is begin for what c was promised with its request. It cannot ask
// again, so its connection ends when this comes to nothing: its place stays where
// it is, and it comes back.
func (r *resumes) beginPromised(c *conn) {
	if r.inbox == nil { // there is nothing that it could have missed
		x := c.State.resuming()
		r.sessions.forgetResume(x)
		r.sessions.release(c)
		return
	}
	if result, answer := r.refusal(c); result != "" {
		r.m.resumes.WithLabelValues(result).Inc()
		r.breakPromise(c, answer)
		return
	}
	c.State.resuming().member = true
	r.next(c)
}

// refusal says why c cannot resume now, as it is counted and answered; empty: it can.
func (r *resumes) refusal(c *conn) (result, answer string) {
	if exceeded := r.sessions.charge(c, useInbox, resumeCost); exceeded != "" {
		r.m.overBudget.WithLabelValues(exceeded).Inc()
		return "rate_limited", resumeLimited
	}
	if g := c.State.group(); r.budget.waiting.Len() >= r.cfg.queue || g != nil && g.resuming >= maxUserResumes {
		return "busy", resumeFailed
	}
	return "", ""
}

// join has x wait for its turn.
func (r *resumes) join(x *resume) {
	x.phase, x.until = resumeWaiting, r.loop.Now()+r.cfg.wait
	r.budget.join(x)
	r.startReads()
	r.loop.Arm(x.c)
}

const (
	resumeFailed  = `{"t":"error","of":"resume","code":"unavailable"`
	resumeLimited = `{"t":"error","of":"resume","code":"rate_limited"`
)

// breakPromise ends a connection that cannot be told what it has missed.
func (r *resumes) breakPromise(c *conn, answer string) {
	if x := c.State.resuming(); x != nil && x.pull != nil {
		err := pullUnavailable("The inbox cannot be read now.")
		if answer == resumeLimited {
			err = errTooManyPulls()
		}
		r.pulls.breakOff(x, err)
		return
	}
	r.sessions.answer(c, answer, nil)
	r.sessions.close(c, ws.CloseTryAgainLater, "what was missed cannot be told now")
}

// startReads has inboxes read for those who wait, as far as there is room.
func (r *resumes) startReads() {
	for r.budget.waiting.Len() > 0 && r.budget.reading < r.cfg.workers && r.budget.hasRoom() {
		r.read(r.budget.next())
	}
}

// read has the inbox, or the topic's history, read for x, whose turn has come.
func (r *resumes) read(x *resume) {
	x.phase = resumeReading
	user := x.user()
	r.reads <- func(ctx context.Context) {
		var missed hub.Missed
		var err error
		if x.ofInbox() {
			missed, err = r.inbox.Read(ctx, user, x.after)
		} else {
			missed, err = r.kept.Read(ctx, x.topic, x.after)
		}
		r.found <- found{x, missed, err}
		r.loop.Post(r.takeFound) // refused: the next tick takes it
	}
	r.loop.Arm(x.c)
}

// takeFound goes on with the connections whose inboxes have been read.
func (r *resumes) takeFound() {
	for range len(r.found) {
		f := <-r.found
		r.resumed(f.x, f.missed, f.err)
	}
}

// resumed goes on with a connection for which has been read what it missed.
func (r *resumes) resumed(x *resume, missed hub.Missed, err error) {
	r.budget.reading--
	switch {
	case x.ended:
		r.m.resumes.WithLabelValues("abandoned").Inc()
		r.budget.giveBack(x, x.replay.reserved)
	case err != nil:
		r.m.resumes.WithLabelValues("unavailable").Inc()
		r.trace(x.c, "resume failed", "topic", string(x.topic), "err", err)
		r.budget.giveBack(x, x.replay.reserved)
		r.inVain(x)
	case x.pull != nil:
		r.pulls.take(x, missed)
	default:
		r.beginReplay(x, missed)
	}
	r.loop.Arm(x.c)
	r.startReads()
}

// inVain tells a client that it cannot be told what it missed now.
func (r *resumes) inVain(x *resume) {
	if x.promised {
		r.breakPromise(x.c, resumeFailed)
		return
	}
	answer := resumeFailed
	if !x.ofInbox() {
		answer = subscribeFailed
	}
	r.sessions.forgetResume(x)
	r.sessions.answer(x.c, answer, x.ref)
	if x.made {
		r.topics.leave(x.c, x.topic)
	}
	r.sessions.release(x.c)
	r.next(x.c)
}

// resumedText is what a replay of x begins with.
func resumedText(x *resume, count int, missed hub.Missed) []byte {
	b := make([]byte, 0, 112+len(x.topic)+len(missed.Last)+len(x.ref))
	if x.ofInbox() {
		b = append(b, `{"t":"resumed","recovered":`...)
	} else {
		b = append(append(b, `{"t":"subscribed","topic":"`...), x.topic...) // which needs no quoting
		b = append(b, `","recovered":`...)
	}
	b = strconv.AppendBool(b, missed.Recovered)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(count), 10)
	b = append(b, `,"last":`...)
	b, _ = jsontext.AppendQuote(b, missed.Last) // an id is ASCII
	return appendRef(b, x.ref)
}

// expire ends the phase that a resume has been in for too long. What was
// replayed is forgotten once none of it can come again, so that the client may
// resume anew; one that has not read all that followed the replay waits.
func (r *resumes) expire(x *resume) {
	switch {
	case x.phase == resumeAwaiting:
		x.pull.news()
	case x.phase == resumeWaiting:
		r.m.resumes.WithLabelValues("busy").Inc()
		r.inVain(x)
	case x.phase == resumeSending:
		r.cut(x.c)
	case x.c.Waiting():
		x.until = r.loop.Now() + r.cfg.memory
	default:
		r.sessions.forgetResume(x)
	}
}

// check ends the phases of c's resumes that have lasted for too long.
func (r *resumes) check(c *conn) {
	for _, x := range c.State.allResumes() {
		if due := x.due(); due != 0 && r.loop.Now() >= due && !x.ended {
			r.expire(x)
		}
	}
}
