package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/hub"
)

// fakeInbox is an inbox whose reads a test answers.
type fakeInbox struct {
	reads chan *fakeRead

	mu    sync.Mutex
	acked []string
	fails error // answer of Ack and Anchor

	anchor string
}

type fakeRead struct {
	user   hub.UserID
	after  string
	answer chan fakeAnswer
}

type fakeAnswer struct {
	missed hub.Missed
	err    error
}

func newFakeInbox() *fakeInbox { return &fakeInbox{reads: make(chan *fakeRead, 100)} }

func (f *fakeInbox) Read(ctx context.Context, user hub.UserID, after string) (hub.Missed, error) {
	r := &fakeRead{user: user, after: after, answer: make(chan fakeAnswer, 1)}
	f.reads <- r
	select {
	case a := <-r.answer:
		return a.missed, a.err
	case <-ctx.Done():
		return hub.Missed{}, ctx.Err()
	}
}

func (f *fakeInbox) Ack(_ context.Context, user hub.UserID, ids []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fails != nil {
		return f.fails
	}
	for _, id := range ids {
		f.acked = append(f.acked, string(user)+"/"+id)
	}
	return nil
}

func (f *fakeInbox) Anchor(context.Context, hub.UserID) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.anchor, f.fails
}

func (*fakeInbox) Largest() int { return 256 << 10 }

func (f *fakeInbox) acknowledged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.acked, " ")
}

// next returns the read that the worker does next.
func (f *fakeInbox) next(tb testing.TB) *fakeRead {
	tb.Helper()
	select {
	case r := <-f.reads:
		return r
	case <-time.After(5 * time.Second):
		tb.Fatal("the inbox is not read")
	}
	panic("unreachable")
}

// finds answers a read with notifications.
func (r *fakeRead) finds(ids ...string) {
	r.answer <- fakeAnswer{missed: missed(ids...)}
}

func missed(ids ...string) hub.Missed {
	m := hub.Missed{Recovered: true, Last: "last"}
	for _, id := range ids {
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: stored(id).Payload})
	}
	return m
}

// stored is an envelope of a stored notification.
func stored(id string, users ...hub.UserID) hub.Envelope {
	n := hub.Notification{ID: id, Data: []byte(`1`), Store: time.Hour}
	return hub.Envelope{Kind: hub.KindNotify, ID: id, Users: users, Payload: n.Render()}
}

// wantIDs reads notifications and compares their ids.
func (c *peer) wantIDs(ids ...string) {
	c.t.Helper()
	var got []string
	for range ids {
		m := c.json()
		if m["t"] != "notify" {
			c.t.Fatalf("got %v after %q, want notifications %q", m, got, ids)
		}
		got = append(got, m["id"].(string))
	}
	if !slices.Equal(got, ids) {
		c.t.Fatalf("got %q, want %q", got, ids)
	}
}

func (c *peer) wantText(want string) {
	c.t.Helper()
	if f := c.next(); string(f.Payload) != want {
		c.t.Fatalf("got %s, want %s", f.Payload, want)
	}
}

const resumedNothing = `{"t":"resumed","recovered":true,"count":0,"last":"last"}`

func TestResumeReplaysThenGoesLive(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	r.deliver(stored("before", "ann"))
	c.wantIDs("before")

	c.text(`{"t":"resume","after":"x","ref":7}`)
	read := inbox.next(t)
	if read.user != "ann" || read.after != "x" {
		t.Fatalf("read %s after %q", read.user, read.after)
	}
	for _, id := range []string{"b", "live", "a", "late"} {
		r.deliver(stored(id, "ann"))
	}
	c.text(`{"t":"ping"}`) // is answered while the read is under way
	c.wantText(`{"t":"ok"}`)
	c.quiet(50 * time.Millisecond)
	read.finds("a", "b")
	c.wantText(`{"t":"resumed","recovered":true,"count":2,"last":"last","ref":7}`)
	c.wantIDs("a", "b", "live", "late")

	r.deliver(stored("b", "ann")) // still on its way from another sender
	r.deliver(stored("after", "ann"))
	c.wantIDs("after")
	if n := r.metric("homing_front_repeats_total"); n != 3 {
		t.Errorf("%v repeats counted, want 3", n)
	}
	if n := r.metric("homing_front_resumes_total", "result", "recovered"); n != 1 {
		t.Errorf("%v resumes counted, want 1", n)
	}
	if n := r.metric("homing_front_replayed_messages_total"); n != 2 {
		t.Errorf("%v replayed messages counted, want 2", n)
	}
}

func TestResumeOfHistoryThatIsGone(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	m := missed("a")
	m.Recovered, m.Last = false, `"`
	inbox.next(t).answer <- fakeAnswer{missed: m}
	c.wantText(`{"t":"resumed","recovered":false,"count":1,"last":"\""}`)
	c.wantIDs("a")
	if n := r.metric("homing_front_resumes_total", "result", "gone"); n != 1 {
		t.Errorf("%v resumes counted, want 1", n)
	}
}

func TestResumeKeepsToTheService(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann@chess")
	c.text(`{"t":"resume"}`)
	m := missed("for all", "for go", "for chess")
	m.Entries[1].Services = []hub.Service{"go"}
	m.Entries[2].Services = []hub.Service{"go", "chess"}
	inbox.next(t).answer <- fakeAnswer{missed: m}
	c.wantText(`{"t":"resumed","recovered":true,"count":2,"last":"last"}`)
	c.wantIDs("for all", "for chess")
}

func TestResumeWithoutTheInbox(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	for range 3 {
		c.text(`{"t":"resume","after":"x","ref":"r"}`)
		read := inbox.next(t)
		r.deliver(stored("live", "ann"))
		r.deliver(stored("live2", "ann"))
		read.answer <- fakeAnswer{err: errors.New("redis is away")}
		c.wantText(`{"t":"error","of":"resume","code":"unavailable","ref":"r"}`)
		c.wantIDs("live", "live2")
	}
	c.text(`{"t":"resume"}`)
	inbox.next(t).finds()
	c.wantText(resumedNothing)
}

func TestASlowInboxIsGivenUp(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeTimeout = 100 * time.Millisecond })
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	inbox.next(t)
	r.deliver(stored("live", "ann"))
	c.wantText(`{"t":"error","of":"resume","code":"unavailable"}`)
	c.wantIDs("live")
}

func TestTooMuchHeldClosesTheConnection(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.OutboxMessages = 5 })
	c := r.join("ann")
	other := r.join("bob")
	c.text(`{"t":"resume"}`)
	read := inbox.next(t)
	for i := range 6 {
		r.deliver(stored(fmt.Sprint(i), "ann", "bob"))
	}
	c.wantClose(int(closeSlowConsumer))
	read.finds("a")
	other.wantIDs("0", "1", "2", "3", "4", "5")
	wait(t, "the count", func() bool { return r.metric("homing_front_resumes_total", "result", "abandoned") == 1 })
	lost := r.metric("homing_front_dropped_messages_total", "class", "must")
	if lost != 6 {
		t.Errorf("%v messages counted as dropped, want 6", lost)
	}
}

// Of what is held, latest is replaced as in an outbox.
func TestHeldLatestIsReplacedInOrder(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.OutboxMessages = 3 })
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	read := inbox.next(t)
	for i := range 10 {
		e := classNote(hub.ClassLatest, "position", i, "ann")
		if i == 5 {
			e = classNote(hub.ClassMust, "", i, "ann")
		}
		r.deliver(e)
	}
	r.deliver(classNote(hub.ClassLatest, "score", 10, "ann"))
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 11 })
	read.finds("a")
	c.wantText(`{"t":"resumed","recovered":true,"count":1,"last":"last"}`)
	c.wantIDs("a", "5", "9", "10")
	if n := r.dropped("replaced", "latest"); n != 8 {
		t.Errorf("%v messages counted as replaced, want 8", n)
	}
}

func TestHeldLatestKeepsToTheBounds(t *testing.T) {
	r := startWith(t, newFakeInbox(), func(c *Config) { c.OutboxBytes = 2000 })
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	wait(t, "the resume", func() bool { return len(r.resumes.inbox.(*fakeInbox).reads) == 1 })
	for i := range 10 { // of which one is held
		r.deliver(classNote(hub.ClassLatest, "k", i, "ann"))
	}
	wait(t, "delivery", func() bool { return r.dropped("replaced", "latest") == 9 })
	c.text(`{"t":"ping"}`)
	c.wantText(`{"t":"ok"}`)
	large := classNote(hub.ClassLatest, "k", 10, "ann")
	large.Payload = []byte(`{"t":"notify","id":"10","data":"` + strings.Repeat("x", 2000) + `"}`)
	r.deliver(large)
	c.wantClose(int(closeSlowConsumer))
}

func TestResumeIsRefused(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeMemory = 200 * time.Millisecond })
	c := r.join("ann")
	for _, tc := range []struct{ in, want string }{
		{`{"t":"resume","after":7}`, `{"t":"error","code":"bad_json"}`},
		{`{"t":"resume","after":"` + strings.Repeat("x", hub.MaxID+1) + `"}`, `{"t":"error","code":"bad_json"}`},
	} {
		c.text(tc.in)
		c.wantText(tc.want)
	}
	c.text(`{"t":"resume"}`)
	read := inbox.next(t)
	c.text(`{"t":"resume"}`)
	c.wantText(`{"t":"error","of":"resume","code":"already_resumed"}`)
	read.finds()
	c.wantText(resumedNothing)
	c.text(`{"t":"resume"}`)
	c.wantText(`{"t":"error","of":"resume","code":"already_resumed"}`)
	time.Sleep(400 * time.Millisecond)
	c.text(`{"t":"resume"}`)
	inbox.next(t).finds("a")
	c.next()
	c.wantIDs("a")
}

func TestResumeBeforeHello(t *testing.T) {
	r := startWith(t, newFakeInbox(), nil)
	r.presence.goAway()
	c := r.dial("?token=ann")
	c.text(`{"t":"resume"}`)
	time.Sleep(50 * time.Millisecond)
	r.presence.back(nil)
	if hello := c.json(); hello["t"] != "hello" || hello["resume"] != true {
		t.Fatalf("got %v, want hello that offers to resume", hello)
	}
	c.wantText(`{"t":"error","of":"resume","code":"too_early"}`)
}

func TestResumesAndAcksBeyondTheQueuesAreRefused(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeWorkers, c.ResumeQueue = 1, 1 })
	clients := []*peer{r.join("a"), r.join("b"), r.join("c")}
	clients[0].text(`{"t":"resume"}`)
	first := inbox.next(t)
	clients[1].text(`{"t":"resume"}`)
	wait(t, "the queue", func() bool { return r.metric("homing_front_waiting_resumes") == 1 })
	clients[2].text(`{"t":"resume"}`)
	clients[2].wantText(`{"t":"error","of":"resume","code":"unavailable"}`)
	clients[2].text(`{"t":"ack","id":"w"}`)
	clients[2].text(`{"t":"ack","id":"x"}`)
	clients[2].wantText(`{"t":"error","of":"ack","code":"unavailable"}`)
	first.finds()
	inbox.next(t).finds()
	clients[0].wantText(resumedNothing)
	clients[1].wantText(resumedNothing)
}

func TestAck(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	c.text(`{"t":"ack","id":"a"}`)
	c.text(`{"t":"ack","ids":["b","c"],"ref":1}`)
	c.wantText(`{"t":"ok","ref":1}`)
	wait(t, "the acknowledgements", func() bool { return len(inbox.acknowledged()) == len("ann/a ann/b ann/c") })
	for _, bad := range []string{
		`{"t":"ack"}`, `{"t":"ack","id":7}`, `{"t":"ack","ids":[]}`, `{"t":"ack","ids":"x"}`,
		`{"t":"ack","id":"` + strings.Repeat("x", hub.MaxID+1) + `"}`,
		`{"t":"ack","ids":[` + strings.Repeat(`"x",`, maxAck) + `"x"]}`,
	} {
		c.text(bad)
		c.wantText(`{"t":"error","code":"bad_json"}`)
	}
	inbox.mu.Lock()
	inbox.fails = errors.New("redis is away")
	inbox.mu.Unlock()
	c.text(`{"t":"ack","id":"d"}`)
	c.wantText(`{"t":"error","of":"ack","code":"unavailable"}`)
	wait(t, "the count of them", func() bool { return r.metric("homing_front_acknowledgements_total", "result", "ok") == 3 })
}

func TestWithoutAnInboxNothingIsOffered(t *testing.T) {
	r := start(t, nil)
	c := r.dial("?token=ann")
	if hello := c.json(); hello["resume"] != nil {
		t.Errorf("hello offers to resume: %v", hello)
	}
	for _, in := range []string{"resume", "ack"} {
		c.text(`{"t":"` + in + `"}`)
		c.wantText(`{"t":"error","code":"unknown_type"}`)
	}
}

// TestALargeReplayIsNoSlowConsumer replays more than the outbox holds to a
// client that takes its time, while live messages go on.
func TestALargeReplayIsNoSlowConsumer(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.OutboxBytes = 20_000 })
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	m := missed()
	const n = 200
	want := make([]string, 0, n+1)
	for i := range n {
		id := fmt.Sprint("m", i)
		note := hub.Notification{ID: id, Data: []byte(`"` + strings.Repeat("x", 10_000) + `"`)}
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: note.Render()})
		want = append(want, id)
	}
	inbox.next(t).answer <- fakeAnswer{missed: m}
	time.Sleep(50 * time.Millisecond)
	r.deliver(stored("live", "ann"))
	if got := c.json(); got["t"] != "resumed" {
		t.Fatalf("got %v", got)
	}
	c.wantIDs(append(want, "live")...)
}

// TestResumeEndsWithTheConnection leaves nothing behind, whichever way a
// connection ends in the middle of a resume, and after it.
func TestResumeEndsWithTheConnection(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeMemory = 100 * time.Millisecond })
	for i := range 20 {
		c := r.join("ann")
		c.text(`{"t":"resume"}`)
		read := inbox.next(t)
		r.deliver(stored("live", "ann"))
		if i%2 == 0 {
			_ = c.Close()
		} else {
			c.write(gws.MaskFrame(gws.NewCloseFrame(gws.NewCloseFrameBody(1000, ""))))
		}
		read.finds("a", "b")
	}
	wait(t, "all to go", func() bool { return r.presence.count() == 0 })
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	inbox.next(t).finds()
	c.wantText(resumedNothing)
	var resumes int
	wait(t, "the resume to be forgotten", func() bool {
		done := make(chan struct{})
		r.Post(func() {
			resumes = 0
			for place := range r.loop.Places() {
				if c := r.loop.At(place); c != nil && c.State.resuming() != nil {
					resumes++
				}
			}
			close(done)
		})
		<-done
		return resumes == 0
	})
}

// FuzzMessage feeds what clients send to a connection that may resume.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		`{"t":"resume","after":"x","ref":7}`, `{"t":"resume"}`, `{"t":"ack","id":"x"}`,
		`{"t":"ack","ids":["x","y"],"ref":{}}`, `{"t":"ping"}`, `{"t":1}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	r := startWith(f, newFakeInbox(), func(c *Config) { c.MessageRate, c.ByteRate, c.InboxRate = 0, 0, 0 })
	f.Fuzz(func(t *testing.T, text []byte) {
		c := (&rig{Worker: r.Worker, t: t, addr: r.addr}).join("ann")
		defer c.Close()
		c.write(gws.MaskFrame(gws.NewTextFrame(text)))
		c.text(`{"t":"ping","ref":"last"}`)
		for answers := 0; ; answers++ {
			f := c.next()
			if f.Header.OpCode == gws.OpClose {
				return // no text
			}
			if bytes.Equal(f.Payload, []byte(`{"t":"ok","ref":"last"}`)) {
				if answers > 1 {
					t.Fatalf("%q got %d answers", text, answers)
				}
				return
			}
		}
	})
}

// What a read has found is not lost when the loop takes no posts: the client is
// answered, and the next one finds a reader.
func TestResumeGoesOnWhenPostsAreRefused(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeWorkers = 1 })
	ann, ben := r.join("ann"), r.join("ben")
	ann.text(`{"t":"resume"}`)
	read := inbox.next(t)

	begun, held := make(chan struct{}), make(chan struct{})
	r.Post(func() { close(begun); <-held })
	<-begun
	for r.Post(func() {}) { // until too many wait
	}
	refused := r.metric("homing_front_refused_posts_total")
	read.finds("a")
	wait(t, "a refused post", func() bool { return r.metric("homing_front_refused_posts_total") > refused })
	close(held)

	ann.wantText(`{"t":"resumed","recovered":true,"count":1,"last":"last"}`)
	ann.wantIDs("a")
	ben.text(`{"t":"resume"}`)
	inbox.next(t).finds()
	ben.wantText(resumedNothing)
}
