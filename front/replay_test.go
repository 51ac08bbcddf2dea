package front

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/homing/homing/hub"
)

// large is an inbox of n notifications of 10 KB.
func large(n int) (m hub.Missed, ids []string) {
	m = missed()
	for i := range n {
		id := fmt.Sprint("m", i)
		note := hub.Notification{ID: id, Data: []byte(`"` + strings.Repeat("x", 10_000) + `"`)}
		m.Entries = append(m.Entries, hub.Stored{ID: id, Payload: note.Render()})
		ids = append(ids, id)
	}
	return m, ids
}

// replayUse is how much of the budget of replays is used.
func (r *rig) replayUse() (used int) {
	done := make(chan struct{})
	r.Post(func() {
		used = r.sessions.replays.used
		close(done)
	})
	<-done
	return used
}

// unread has a client that does not read resume, and gives it a large replay.
func (r *rig) unread(inbox *fakeInbox, user string, n int) *peer {
	r.t.Helper()
	c := r.join(user)
	c.text(`{"t":"resume"}`)
	m, _ := large(n)
	inbox.next(r.t).answer <- fakeAnswer{missed: m}
	wait(r.t, "the replay of "+user+" to stand still", func() bool {
		return r.metric("homing_front_replayed_messages_total") > 0 && r.metric("homing_front_waiting_connections") > 0
	})
	return c
}

func smallBuffers(c *Config) { c.SendBuffer = 4096 }

// TestAReplayWaitsOutsideTheOutbox keeps for a client that does not read no more
// in its outbox than one chunk, and lets go of what it has taken.
func TestAReplayWaitsOutsideTheOutbox(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, smallBuffers)
	c := r.unread(inbox, "ann", 200)
	m, ids := large(200)
	size := 0
	for i := range m.Entries {
		size += len(m.Entries[i].Payload)
	}
	if used := r.replayUse(); used < size/2 || used > size+16*1024 {
		t.Errorf("%d bytes are counted of a replay of %d that hardly began", used, size)
	}
	waits := 0
	done := make(chan struct{})
	r.Post(func() {
		waits = r.sessions.users.newest["ann"].State.resuming().replay.flying
		close(done)
	})
	<-done
	if waits == 0 || waits > replayChunk {
		t.Errorf("%d bytes wait in the outbox, want at most a chunk", waits)
	}
	r.deliver(stored("live", "ann"))
	c.text(`{"t":"ping","ref":1}`) // is answered between two chunks
	if got := c.json(); got["t"] != "resumed" {
		t.Fatalf("got %v", got)
	}
	var got []string
	for len(got) <= len(ids) {
		switch m := c.json(); m["t"] {
		case "notify":
			got = append(got, m["id"].(string))
		case "ok":
		default:
			t.Fatalf("got %v", m)
		}
	}
	if want := append(ids, "live"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wait(t, "the budget to be free", func() bool { return r.replayUse() == 0 })
}

func TestAClientThatDoesNotReadItsReplayIsClosed(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) {
		smallBuffers(c)
		c.ReplayTimeout = 300 * time.Millisecond
		c.CloseTimeout = 10 * time.Second
	})
	c := r.unread(inbox, "ann", 200)
	wait(t, "the index to forget ann", func() bool { return r.presence.of("ann") == nil })
	if n := r.metric("homing_front_slow_replays_total"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
	if used := r.replayUse(); used != 0 {
		t.Errorf("%d bytes of the budget are still used", used)
	}
	c.wantClose(4008)
}

// TestResumesWaitForRoom has no inbox read while a replay that nobody reads fills
// the budget, until that has stood still for a while.
func TestResumesWaitForRoom(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) {
		smallBuffers(c)
		c.ReplayBytes = 1 << 20 // one more is read only when there are 512 KiB
		c.ResumeTimeout = time.Minute
	})
	r.unread(inbox, "ann", 100)
	bob := r.join("bob")
	bob.text(`{"t":"resume"}`)
	read := inbox.next(t)
	if r.presence.of("ann") != nil || r.metric("homing_front_slow_replays_total") != 1 {
		t.Error("bob's inbox is read, and ann, who reads nothing and leaves no room, is still there")
	}
	read.finds("a")
	bob.next()
	bob.wantIDs("a")
}

// TestWhatWasReplayedIsRememberedInLittle looks at what a connection keeps that
// has resumed.
func TestWhatWasReplayedIsRememberedInLittle(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	inbox.next(t).finds("a", "b", "c")
	c.next()
	c.wantIDs("a", "b", "c")
	kept := make(chan uintptr, 1)
	r.Post(func() {
		u := r.sessions.users.newest["ann"].State.resuming()
		kept <- uintptr(cap(u.replayed)) * unsafe.Sizeof(u.replayed[0])
	})
	if n := <-kept; n != 3*8 {
		t.Errorf("%d bytes for 3 notifications, want 8 each", n)
	}
	for _, id := range []string{"b", "d"} {
		r.deliver(stored(id, "ann"))
	}
	c.wantIDs("d")
}

// TestAReplayThatDiesMakesRoom has the inbox of who waits read when the client
// whose replay fills the budget goes away.
func TestAReplayThatDiesMakesRoom(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) {
		smallBuffers(c)
		c.ReplayBytes = 1 << 20 // one more is read only when there are 512 KiB
		c.ResumeTimeout = time.Minute
	})
	ann := r.unread(inbox, "ann", 100)
	bob := r.join("bob")
	bob.text(`{"t":"resume"}`)
	wait(t, "bob to wait", func() bool { return r.metric("homing_front_waiting_resumes") == 1 })
	_ = ann.Close()
	inbox.next(t).finds("a")
	bob.next()
	bob.wantIDs("a")
}

func TestAResumeThatWaitsTooLongIsAnswered(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { c.ResumeWorkers = 1; c.ResumeTimeout = 400 * time.Millisecond })
	ann, bob := r.join("ann"), r.join("bob")
	ann.text(`{"t":"resume"}`)
	read := inbox.next(t)
	_ = read // is not answered before its time is over
	bob.text(`{"t":"resume"}`)
	wait(t, "bob to wait", func() bool {
		waits := make(chan bool)
		r.Post(func() { waits <- r.sessions.users.newest["bob"].State.resuming() != nil })
		return <-waits
	})
	r.deliver(stored("live", "bob"))
	f := bob.next()
	switch string(f.Payload) {
	case `{"t":"error","of":"resume","code":"unavailable"}`:
	default: // ann's read was given up first, and bob's has begun
		t.Fatalf("got %s", f.Payload)
	}
	bob.wantIDs("live")
	ann.wantText(`{"t":"error","of":"resume","code":"unavailable"}`)
}

// TestOneUserResumesAFewTimesAtOnce leaves the places to others.
func TestOneUserResumesAFewTimesAtOnce(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, nil)
	var clients []*peer
	for range maxUserResumes + 1 {
		clients = append(clients, r.join("ann"))
	}
	var reads []*fakeRead
	for _, c := range clients[:maxUserResumes] {
		c.text(`{"t":"resume"}`)
		reads = append(reads, inbox.next(t))
	}
	last := clients[maxUserResumes]
	last.text(`{"t":"resume"}`)
	last.wantText(`{"t":"error","of":"resume","code":"unavailable"}`)
	for i, read := range reads {
		if i == 0 {
			_ = clients[0].Close()
			read.answer <- fakeAnswer{err: errors.New("too late anyway")}
			continue
		}
		read.finds()
		clients[i].wantText(resumedNothing)
	}
	last.text(`{"t":"resume"}`)
	inbox.next(t).finds()
	last.wantText(resumedNothing)
}

// TestEveryEndOfAResumeGivesBackItsRoom ends connections in each phase.
func TestEveryEndOfAResumeGivesBackItsRoom(t *testing.T) {
	inbox := newFakeInbox()
	r := startWith(t, inbox, func(c *Config) { smallBuffers(c); c.ResumeWorkers = 1; c.ResumeTimeout = time.Minute })
	sending := r.unread(inbox, "sending", 100)
	reading, waits := r.join("reading"), r.join("waiting")
	reading.text(`{"t":"resume"}`)
	read := inbox.next(t)
	waits.text(`{"t":"resume"}`)
	wait(t, "one to wait", func() bool { return r.metric("homing_front_waiting_resumes") == 1 })
	for _, c := range []*peer{sending, reading, waits} {
		_ = c.Close()
	}
	wait(t, "all to go", func() bool { return r.presence.count() == 0 })
	if used := r.replayUse(); used != 512<<10 {
		t.Errorf("%d bytes are used while one inbox is read", used)
	}
	read.finds("a")
	wait(t, "the read to end", func() bool { return r.replayUse() == 0 })
	if n := r.metric("homing_front_resumes_total", "result", "abandoned"); n != 1 {
		t.Errorf("%v abandoned, want 1", n)
	}
	c := r.join("ann")
	c.text(`{"t":"resume"}`)
	inbox.next(t).finds()
	c.wantText(resumedNothing)
}
