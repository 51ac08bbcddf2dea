package loop

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestAConnectionIsSmall(t *testing.T) {
	const want = 32
	if size := unsafe.Sizeof(Conn[[80]byte]{}) - 80; size > want {
		t.Errorf("a connection takes %d bytes beside its state, want at most %d", size, want)
	}
}

func TestIdleConnectionsHaveNothingBesides(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.TakeIn(c, r.Now()+1000)
		if c.aux == nil {
			t.Error("the deadline is not kept")
		}
		r.SetDeadline(c, 0)
		if c.aux != nil || c.out != nil {
			t.Errorf("aux %+v, queue %+v", c.aux, c.out)
		}
	})
}

// A turn begins, serves what is ready, and ends; a tick comes before what is due
// in it.
func TestTheOrderOfATurn(t *testing.T) {
	var calls []string
	note := func(what string) { calls = append(calls, what) }
	r := start(t, func(_ *Config, h *lines) {
		h.turn = note
		h.line = func(*Conn[text], string) {
			note("line")
			h.r.Post(func() { note("post") })
			h.r.AfterFunc(0, func() { note("timer") })
		}
		h.due = func(*Conn[text]) Tick { return 1 }
		h.check = func(*Conn[text]) { note("check") }
	})
	_, _ = io.WriteString(r.dial(), "x\n")
	wait(t, "a check", func() (checked bool) {
		r.on(func() { checked = slices.Contains(calls, "timer") && slices.Contains(calls, "check") })
		return checked
	})
	r.stop()
	for i, what := range calls {
		before := ""
		if i > 0 {
			before = calls[i-1]
		}
		if (what == "begin") != (before == "" || before == "end") {
			t.Errorf("%s after %s", what, before)
		}
		if what == "check" && before != "tick" && before != "check" {
			t.Errorf("check after %s", before)
		}
	}
	line, post, timer := slices.Index(calls, "line"), slices.Index(calls, "post"), slices.Index(calls, "timer")
	if line < 0 || post < line || timer < post {
		t.Errorf("calls %v", calls)
	}
}

// Where messages come one by one and soon after each other, a turn serves several.
func TestATurnServesWhatComesSoonAfterEachOther(t *testing.T) {
	turns := 0
	r := start(t, func(_ *Config, h *lines) {
		h.turn = func(what string) {
			if what == "begin" {
				turns++
			}
		}
	})
	conns := make([]net.Conn, 200)
	for i := range conns {
		conns[i] = r.dial()
		r.say(conns[i], "x", 2)
	}
	r.on(func() { turns = 0 })
	for _, c := range conns {
		_, _ = io.WriteString(c, "x\n")
		soon := unix.NsecToTimespec(int64(gap / 5))
		_ = unix.Nanosleep(&soon, nil) // time.Sleep takes a millisecond at least
	}
	for _, c := range conns {
		r.read(c, 2)
	}
	r.on(func() {
		if turns > len(conns)/2 {
			t.Errorf("%d turns for %d lines", turns, len(conns))
		}
	})
}

// A connection is looked at in its tick, not before, and as often as it asks.
func TestCheckComesWhenItIsDue(t *testing.T) {
	var seen []Tick
	r := start(t, func(_ *Config, h *lines) {
		at := Tick(0)
		h.line = func(c *Conn[text], _ string) {
			h.r.TakeIn(c, 0)
			at = h.r.Now() + 3
			h.r.Arm(c)
		}
		h.due = func(*Conn[text]) Tick { return at }
		h.check = func(*Conn[text]) {
			if h.r.Now() < at {
				t.Errorf("looked at in tick %d, before %d", h.r.Now(), at)
			}
			seen = append(seen, h.r.Now())
			if at = h.r.Now() + 2; len(seen) == 3 {
				at = 0
			}
		}
	})
	_, _ = io.WriteString(r.dial(), "x\n")
	time.Sleep(15 * TickLength)
	r.on(func() {
		if len(seen) != 3 {
			t.Errorf("looked at in %v", seen)
		}
	})
}

func TestDeadlinesAreKeptAndMoved(t *testing.T) {
	var expired []Tick
	r := start(t, func(cfg *Config, h *lines) {
		cfg.HandshakeTimeout = time.Hour
		h.expired = func(*Conn[text]) { expired = append(expired, h.r.Now()) }
	})
	r.say(r.dial(), "x", 2)
	var at Tick
	r.on(func() {
		r.SetDeadline(r.only(), r.Now()+1)
		at = r.Now() + 3
		r.SetDeadline(r.only(), at)
	})
	time.Sleep(6 * TickLength)
	r.on(func() {
		if len(expired) != 1 || expired[0] < at {
			t.Errorf("expired in %v, want once from %d on", expired, at)
		}
		r.SetDeadline(r.only(), r.Now()+2)
		r.SetDeadline(r.only(), 0)
	})
	time.Sleep(4 * TickLength)
	r.on(func() {
		if len(expired) != 1 {
			t.Errorf("expired in %v", expired)
		}
	})
}

// More than one turn looks at are due in one tick: all of them are looked at.
func TestManyMayBeDueAtOnce(t *testing.T) {
	const n = scanBudget + scanBudget/2
	seen := map[*Conn[text]]int{}
	r := start(t, func(cfg *Config, h *lines) {
		cfg.Arrivals.Pending, cfg.Backlog, cfg.MaxDescriptors = n, n, 8*n
		h.expired = func(c *Conn[text]) { seen[c]++ }
	})
	for range n {
		r.dial()
	}
	wait(t, "connections", func() (come bool) {
		r.on(func() { come = r.Len() == n })
		return come
	})
	r.on(func() {
		for place := range r.Places() {
			if c := r.At(place); c != nil {
				r.SetDeadline(c, r.Now()+1)
			}
		}
	})
	time.Sleep(3 * TickLength)
	r.on(func() {
		for c, times := range seen {
			if times != 1 {
				t.Errorf("connection %d has expired %d times", c.Serial(), times)
			}
		}
		if len(seen) != n {
			t.Errorf("%d have expired, want %d", len(seen), n)
		}
	})
}

// A client that sends without end is read in turn with others.
func TestNobodyIsReadForLong(t *testing.T) {
	reads, most := 0, 0
	r := start(t, func(_ *Config, h *lines) {
		h.turn = func(what string) {
			if what == "begin" {
				reads = 0
			}
		}
		h.charge = func(_ *Conn[text], n int) bool {
			reads += n
			most = max(most, reads)
			return true
		}
		h.line = func(c *Conn[text], line string) {
			if line != "" {
				h.r.Send(c, &Message{Data: []byte(line + "\n")})
			}
		}
	})
	sender := r.dial()
	done := make(chan struct{})
	go func() {
		defer close(done)
		flood := bytes.Repeat([]byte{'\n'}, 1<<20)
		for {
			if _, err := sender.Write(flood); err != nil {
				return
			}
		}
	}()
	other := r.dial()
	for range 20 {
		r.say(other, "x", 2)
	}
	_ = sender.Close()
	<-done
	r.on(func() {
		if most > 2*ReadBuffer {
			t.Errorf("%d bytes read in one turn", most)
		}
	})
}

// Step runs a loop by hand, and Close ends it.
func TestALoopMayBeDrivenByHand(t *testing.T) {
	r := prepare(t, nil)
	conn := r.dial()
	_, _ = io.WriteString(conn, "x\n")
	wait(t, "the answer", func() bool {
		if err := r.Step(r.h); err != nil {
			t.Fatal(err)
		}
		return r.metric("homing_front_written_messages_total") == 1
	})
	if got := r.read(conn, 2); got != "x\n" {
		t.Errorf("read %q", got)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r.wantEnd(conn)
}

// The metrics say what has happened.
func TestWhatALoopCounts(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "seven..", 8)
	for name, want := range map[string]float64{
		"accepted_connections_total": 1, "received_bytes_total": 8, "written_bytes_total": 8, "written_messages_total": 1,
	} {
		wait(t, name, func() bool { return r.metric(prefix+name) == want })
	}
	wait(t, "gauges", func() bool {
		return r.metric(prefix+"connections") == 1 && r.metric(prefix+"pending_connections") == 1 && r.metric(prefix+"known_addresses") == 1
	})
	if r.metric(prefix+"loop_turn_seconds") == 0 {
		t.Error("no turn is counted")
	}
	_ = conn.Close()
	wait(t, "nobody", func() bool { return r.metric(prefix+"connections") == 0 && r.metric(prefix+"pending_connections") == 0 })
}
