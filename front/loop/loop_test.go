package loop

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/hub/drop"
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
		r.TakeIn(c, 0)
		if c.aux != nil || c.out != nil {
			t.Errorf("aux %+v, queue %+v", c.aux, c.out)
		}
	})
}

// Whatever a callback does to its connection, the loop goes on.
func TestAConnectionMayEndInEveryCallback(t *testing.T) {
	ends := map[string]func(*rig, *Conn[text]){
		"drop": func(r *rig, c *Conn[text]) { r.Drop(c, drop.Closed) },
		"end":  func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), false) },
		"soon": func(r *rig, c *Conn[text]) { r.End(c, []byte("bye\n"), true) },
	}
	for name, end := range ends {
		for where, change := range map[string]func(*Config, *lines){
			"received": func(_ *Config, h *lines) { h.line = func(c *Conn[text], _ string) { end(h.r, c) } },
			"charge": func(_ *Config, h *lines) {
				h.charge = func(c *Conn[text], _ int) bool {
					if !c.Ending() {
						end(h.r, c)
						return false
					}
					return true
				}
			},
			"expired": func(cfg *Config, h *lines) {
				cfg.HandshakeTimeout = TickLength
				h.expired = func(c *Conn[text]) { end(h.r, c) }
			},
			"check": func(_ *Config, h *lines) {
				h.due = func(*Conn[text]) Tick { return 1 }
				h.check = func(c *Conn[text]) { end(h.r, c) }
			},
		} {
			t.Run(where+" "+name, func(t *testing.T) {
				r := start(t, change)
				conn := r.dial()
				if where != "expired" {
					_, _ = conn.Write([]byte("x\n"))
				}
				if name == "drop" {
					r.wantEnd(conn)
				} else if got := r.read(conn, 4); got != "bye\n" {
					t.Errorf("read %q", got)
				}
				_ = conn.Close()
				wait(t, "the connection to be gone", func() (gone bool) {
					r.on(func() { gone = len(r.h.ended) > 0 })
					return gone
				})
			})
		}
	}
}

// What waits for a slow reader is bounded by the policies of the classes.
func TestASlowReader(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	large := bytes.Repeat([]byte{'.'}, 4<<10)
	r.on(func() {
		c := r.only()
		for !c.Waiting() {
			r.Send(c, &Message{Data: large, Class: Must})
		}
		status := Queued
		for range 100 {
			if status = r.Send(c, &Message{Data: large, Class: Must}); status != Queued {
				break
			}
		}
		if status != Full {
			t.Errorf("status %d of a message without room, want Full", status)
		}
		if s := r.Send(c, &Message{Data: []byte("d"), Class: Droppable, Key: nil}); s != Dropped && s != Queued {
			t.Errorf("status %d of a droppable message", s)
		}
		if s := r.Send(c, &Message{Data: []byte("c")}); s != Queued {
			t.Errorf("status %d of a control message, want Queued", s)
		}
		if n := r.h.lost[drop.SlowConsumer][Must]; n != 1 {
			t.Errorf("%d counted as given up, want 1", n)
		}
		r.Abandon(c, drop.Closed)
		if n := r.h.lost[drop.Closed][Must]; n == 0 {
			t.Error("nothing is counted as abandoned")
		}
	})
}

func TestWhatWaitsIsFlushedInOrder(t *testing.T) {
	flushed := make(chan struct{}, 10)
	r := start(t, func(cfg *Config, h *lines) {
		cfg.QueueBytes, cfg.QueueMessages = 1<<20, 1000
		h.flushed = func(*Conn[text]) { flushed <- struct{}{} }
	})
	conn := r.dial()
	r.say(conn, "x", 2)
	var want strings.Builder
	r.on(func() {
		for i := range 500 {
			line := fmt.Sprintf("%04d%s\n", i, strings.Repeat(".", 995))
			want.WriteString(line)
			r.Send(r.only(), &Message{Data: []byte(line), Class: Must})
		}
	})
	if got := r.read(conn, want.Len()); got != want.String() {
		t.Error("the bytes differ")
	}
	<-flushed
	r.on(func() {
		if r.only().Waiting() {
			t.Error("something waits still")
		}
	})
}

func TestACorkedConnectionReadsTheFirstFirst(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.Cork(c)
		if s := r.Send(c, &Message{Data: []byte("second "), Class: Must}); s != Queued {
			t.Errorf("status %d, want Queued", s)
		}
	})
	r.on(func() { r.Uncork(r.only(), &Message{Data: []byte("first ")}) })
	if got := r.read(conn, 13); got != "first second " {
		t.Errorf("read %q", got)
	}
	r.on(func() {
		c := r.only()
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("never"), Class: Must})
		r.End(c, []byte("end"), false)
	})
	if got := r.read(conn, 3); got != "end" {
		t.Errorf("read %q", got)
	}
	r.wantEnd(conn)
}

// A peer that does not end its side is not waited for beyond the close timeout.
func TestEndDoesNotWaitForEver(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() { r.End(r.only(), []byte("bye"), false) })
	wait(t, "the connection to be gone", func() (gone bool) {
		r.on(func() { gone = r.Len() == 0 })
		return gone
	})
	if got := r.read(conn, 3); got != "bye" {
		t.Errorf("read %q", got)
	}
}

func TestWithheldConnectionsGetTheEndOnly(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	r.on(func() {
		c := r.only()
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("waits"), Class: Must})
		r.Withhold()
		c.corked = false
		r.flush(c)
		if !c.Waiting() {
			t.Error("what waited was written")
		}
		r.Abandon(c, drop.Disowned)
		r.End(c, []byte("end"), false)
	})
	if got := r.read(conn, 3); got != "end" {
		t.Errorf("read %q", got)
	}
}

func TestSendToAnIdleConnectionAllocatesNothing(t *testing.T) {
	r := start(t, nil)
	conn := r.dial()
	r.say(conn, "x", 2)
	m := Message{Data: []byte("x"), Class: Must}
	r.on(func() {
		c := r.only()
		if n := testing.AllocsPerRun(100, func() { r.Send(c, &m) }); n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
}

// Timers fire in order, and near their moment: the figure is printed, and the
// limit is for a machine that is busy with other tests.
func TestTimers(t *testing.T) {
	r := start(t, nil)
	const n = 200
	late := make(chan time.Duration, n)
	r.on(func() {
		var last time.Time
		for range n {
			d := rand.N(500 * time.Millisecond)
			at := time.Now().Add(d)
			r.AfterFunc(d, func() {
				if at.Before(last) {
					t.Error("out of order")
				}
				last = at
				late <- time.Since(at)
			})
		}
	})
	var all []time.Duration
	for range n {
		all = append(all, <-late)
	}
	slices.Sort(all)
	t.Logf("late by %v at the median, %v at the 99th percentile", all[n/2], all[n*99/100])
	if all[0] < 0 || all[n/2] > 5*time.Millisecond {
		t.Errorf("early by %v, or late by %v at the median", -all[0], all[n/2])
	}
}

func TestAStoppedTimerDoesNotFire(t *testing.T) {
	r := start(t, nil)
	fired := make(chan string, 3)
	r.on(func() {
		a := r.AfterFunc(20*time.Millisecond, func() { fired <- "a" })
		r.AfterFunc(30*time.Millisecond, func() { fired <- "b" })
		if !a.Stop() || a.Stop() {
			t.Error("Stop does not say what it does")
		}
	})
	if got := <-fired; got != "b" {
		t.Errorf("%s fired", got)
	}
}

func TestPostsAreBounded(t *testing.T) {
	var p posts
	for range maxPosts {
		if _, ok := p.put(func() {}, maxPosts); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, ok := p.put(func() {}, maxPosts); ok {
		t.Error("one too many is taken")
	}
	for !p.call(1 << 16) {
	}
	if _, ok := p.put(func() {}, maxPosts); !ok {
		t.Error("refused though there is room")
	}
	p.close()
	if _, ok := p.put(func() {}, maxPosts); ok {
		t.Error("taken after the end")
	}
}

func TestPostAfterTheEndIsRefused(t *testing.T) {
	r := start(t, nil)
	r.stop()
	if r.Post(func() {}) {
		t.Error("a post is taken by a loop that has ended")
	}
	if n := r.metric("homing_front_refused_posts_total"); n != 1 {
		t.Errorf("%v refusals are counted, want 1", n)
	}
}

// TestWhoIsPendingIsNotCountedAsRoom has the kernel refuse descriptors while most
// are taken by connections that are pending.
func TestWhoIsPendingIsNotCountedAsRoom(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.HandshakeTimeout = time.Minute })
	served := r.dial()
	r.say(served, "x", 2)
	r.on(func() { r.TakeIn(r.only(), 0) })
	const idle = 79
	for range idle {
		r.dial()
	}
	wait(t, "connections that say nothing", func() bool { return r.metric("homing_front_pending_connections") == idle })
	r.on(func() {
		r.acceptFailed(unix.EMFILE)
		if l := r.listeners.limit; l.high != 57 || l.pending != 19 { // of 95% of 80
			t.Errorf("%d connections in service and %d others may be open, want 57 and 19", l.high, l.pending)
		}
	})
	if n := r.metric("homing_front_turned_away_total"); n != idle-19 {
		t.Errorf("%v turned away, want %d", n, idle-19)
	}
	wait(t, "the listeners to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.say(r.dial(), "y", 2)
	r.say(served, "z", 2)
}

// The log names an address that is turned away, but not each time: an operator
// has to learn of a proxy that is not named, and somebody else chooses how often.
func TestTheLogNamesAnAddressThatIsTurnedAway(t *testing.T) {
	var log bytes.Buffer
	results := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "results"}, []string{"result"})
	a := &arrivals[text]{core: &core[text]{log: slog.New(slog.NewTextHandler(&log, nil)), m: newMetrics(prometheus.NewRegistry(), results)}}
	from := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		a.turnAway(from, arrival.AddressRate)
	}
	a.now += complaints
	a.turnAway(from, arrival.AddressRate)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "192.0.2.1") || !strings.Contains(lines[1], "connections=100") {
		t.Errorf("%d lines: %s", len(lines), log.String())
	}
}
