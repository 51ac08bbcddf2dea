package front

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// Inbox is where notifications are kept for users. Its methods may block
// until ctx ends and are called from several goroutines.
type Inbox interface {
	// Read returns what a client has missed that saw the notification with
	// the id after last. What is stored before the call is found.
	Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error)
	// Ack lets go of what a client has acknowledged.
	Ack(ctx context.Context, user hub.UserID, ids []string) error
}

// maxAck is how many ids one acknowledgement may name.
const maxAck = 256

// resume is a connection's catching up. It begins with the client's request.
// While the inbox is read, what arrives for the connection is held; then the
// client is sent what it missed and what was held. What comes later and was
// replayed already is left out, for as long as it may still come. Owned by
// the loop.
type resume struct {
	ref      json.RawMessage
	reading  bool
	held     []held
	bytes    int                 // of held
	replayed map[string]struct{} // ids
	until    uint32              // tick at which replayed may be forgotten
}

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
func (c *conn) forgetResume() {
	c.side.resume = nil
	if c.side.tls == nil {
		c.side = nil
	}
}

// inboxJob is something for the goroutines that talk to the inbox. It calls
// back by post.
type inboxJob func(ctx context.Context)

// tendInbox does jobs until there are no more. ctx ends what takes too long.
func (w *Worker) tendInbox(ctx context.Context) {
	for job := range w.inboxJobs {
		ctx, cancel := context.WithTimeout(ctx, w.cfg.ResumeTimeout)
		job(ctx)
		cancel()
	}
}

// submit hands a job over, or reports false when too many wait.
func (w *Worker) submit(job inboxJob) bool {
	select {
	case w.inboxJobs <- job:
		return true
	default:
		return false
	}
}

// resume takes a client's request to be told what it missed.
func (w *Worker) resume(c *conn, payload []byte, ref json.RawMessage) {
	var in struct {
		After string `json:"after"`
	}
	switch err := json.Unmarshal(payload, &in); {
	case w.deps.Inbox == nil:
		w.answer(c, `{"t":"error","code":"unknown_type"`, ref)
	case err != nil || len(in.After) > hub.MaxID:
		w.answer(c, `{"t":"error","code":"bad_json"`, ref)
	case c.state != stateOpen:
		w.answer(c, `{"t":"error","of":"resume","code":"too_early"`, ref)
	case c.resuming() != nil:
		w.answer(c, `{"t":"error","of":"resume","code":"already_resumed"`, ref)
	default:
		w.beginResume(c, in.After, ref)
	}
}

func (w *Worker) beginResume(c *conn, after string, ref json.RawMessage) {
	r := &resume{reading: true, ref: ref}
	user := c.user
	if !w.submit(func(ctx context.Context) {
		missed, err := w.deps.Inbox.Read(ctx, user, after)
		w.Post(func() { w.resumed(c, r, missed, err) })
	}) {
		w.m.resumes.WithLabelValues("busy").Inc()
		w.answer(c, resumeFailed, ref)
		return
	}
	if c.side == nil {
		c.side = &side{}
	}
	c.side.resume = r
}

const resumeFailed = `{"t":"error","of":"resume","code":"unavailable"`

// resumed goes on with a connection whose inbox has been read.
func (w *Worker) resumed(c *conn, r *resume, missed hub.Missed, err error) {
	if c.state != stateOpen {
		w.m.resumes.WithLabelValues("abandoned").Inc()
		return
	}
	r.reading = false
	if err != nil {
		w.m.resumes.WithLabelValues("unavailable").Inc()
		w.trace(c, "resume failed", "err", err)
		c.forgetResume()
		w.answer(c, resumeFailed, r.ref)
	} else {
		w.replay(c, r, missed)
	}
	w.release(c, r)
	w.arm(c)
}

// replay sends the answer and the messages missed in one piece. It counts as
// one control message: it is bounded by the inbox, not by the outbox.
func (w *Worker) replay(c *conn, r *resume, missed hub.Missed) {
	result := "recovered"
	if !missed.Recovered {
		result = "gone"
	}
	w.m.resumes.WithLabelValues(result).Inc()
	entries := slices.DeleteFunc(missed.Entries, func(e hub.Stored) bool {
		return len(e.Services) > 0 && !slices.Contains(e.Services, c.service)
	})
	data := ws.Frame(ws.OpText, resumedText(len(entries), missed, r.ref))
	if len(entries) > 0 {
		r.replayed = make(map[string]struct{}, len(entries))
	}
	for i := range entries {
		data = ws.AppendFrame(data, ws.OpText, entries[i].Payload)
		r.replayed[entries[i].ID] = struct{}{}
	}
	r.until = w.now + w.limits.resume
	w.m.replayed.Add(float64(len(entries)))
	w.send(c, &message{data: data, control: true})
}

func resumedText(count int, missed hub.Missed, ref json.RawMessage) []byte {
	last, _ := json.Marshal(missed.Last) // a string always marshals
	b := append(make([]byte, 0, 80+len(last)+len(ref)), `{"t":"resumed","recovered":`...)
	b = strconv.AppendBool(b, missed.Recovered)
	b = append(b, `,"count":`...)
	b = strconv.AppendInt(b, int64(count), 10)
	b = append(b, `,"last":`...)
	return appendRef(append(b, last...), ref)
}

// release sends what was held, as far as the connection lives.
func (w *Worker) release(c *conn, r *resume) {
	waiting := r.held
	r.held, r.bytes = nil, 0
	for i := range waiting {
		switch m := &waiting[i]; {
		case c.state != stateOpen:
			w.m.dropped[dropClosed][m.class].Inc()
		case r.repeats(m.id):
			w.m.repeats.Inc()
		default:
			w.send(c, &m.message)
		}
	}
}

func (r *resume) repeats(id string) bool {
	_, ok := r.replayed[id]
	return ok
}

// give sends c a message of the hub with the given notification id, which is
// only lent: at once, or after the replay, or not at all if it was in that.
func (w *Worker) give(c *conn, m *message, id []byte) hub.Status {
	r := c.resuming()
	switch {
	case r == nil:
		return w.send(c, m)
	case r.reading:
		return w.hold(c, r, m, id)
	}
	if _, ok := r.replayed[string(id)]; ok {
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
	if c.resuming() != nil {
		w.giveUpHeld(c, dropClosed)
		c.forgetResume()
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

// expireResume forgets what was replayed, once none of it can come again, and
// lets the client resume anew. A client that has not read its replay yet waits.
func (w *Worker) expireResume(c *conn, r *resume) {
	if c.out != nil {
		r.until = w.now + w.limits.resume
		return
	}
	c.forgetResume()
}

// ack takes a client's acknowledgement. One without a reference is answered
// only when it failed.
func (w *Worker) ack(c *conn, payload []byte, ref json.RawMessage) {
	var in struct {
		ID  string   `json:"id"`
		IDs []string `json:"ids"`
	}
	err := json.Unmarshal(payload, &in)
	if in.ID != "" {
		in.IDs = append(in.IDs, in.ID)
	}
	tooLong := func(id string) bool { return len(id) > hub.MaxID }
	switch {
	case w.deps.Inbox == nil:
		w.answer(c, `{"t":"error","code":"unknown_type"`, ref)
	case err != nil || len(in.IDs) == 0 || len(in.IDs) > maxAck || slices.ContainsFunc(in.IDs, tooLong):
		w.answer(c, `{"t":"error","code":"bad_json"`, ref)
	default:
		w.beginAck(c, in.IDs, ref)
	}
}

// errAckQueue is why an acknowledgement was not even tried.
var errAckQueue = errors.New("too many resumes and acknowledgements wait")

func (w *Worker) beginAck(c *conn, ids []string, ref json.RawMessage) {
	user := c.user
	if !w.submit(func(ctx context.Context) {
		err := w.deps.Inbox.Ack(ctx, user, ids)
		w.Post(func() { w.acked(c, len(ids), ref, err) })
	}) {
		w.acked(c, len(ids), ref, errAckQueue)
	}
}

func (w *Worker) acked(c *conn, n int, ref json.RawMessage, err error) {
	result := "ok"
	if err != nil {
		result = "unavailable"
		w.trace(c, "acknowledge failed", "err", err)
	}
	w.m.acks.WithLabelValues(result).Add(float64(n))
	switch {
	case c.state >= stateClosing:
	case err != nil:
		w.answer(c, `{"t":"error","of":"ack","code":"unavailable"`, ref)
	case len(ref) > 0:
		w.answer(c, `{"t":"ok"`, ref)
	}
}
