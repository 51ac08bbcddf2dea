package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var someone = netip.MustParseAddr("192.0.2.1")

// releasing has a loop release each connection that says "go", to f.
func releasing(f func(fd int)) func(*Config, *lines) {
	return func(_ *Config, h *lines) {
		answer := h.line
		h.line = func(c *Conn[text], line string) {
			if line != "go" {
				answer(c, line)
				return
			}
			if fd, ok := h.r.Release(c); ok {
				f(fd)
			} else {
				h.r.t.Error("a connection that waits for nothing is not released")
			}
		}
	}
}

func descriptorCount(tb testing.TB) int {
	tb.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(all)
}

func TestAReleasedConnectionGoesOnAtAnotherLoop(t *testing.T) {
	to := start(t, behindProxy) // a header is not expected again
	from := start(t, releasing(func(fd int) { to.AdoptPassed(fd, []byte("already "), someone, text{}) }))
	conn := from.dial()
	if got := from.say(conn, "x", 2); got != "x\n" {
		t.Errorf("read %q", got)
	}
	before := descriptorCount(t)
	want := "already read from 192.0.2.1\n"
	from.say(conn, "go", 0)
	wait(t, "the connection", func() (there bool) { to.on(func() { there = to.Len() == 1 }); return there })
	if got := from.say(conn, "read", len(want)); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	from.on(func() {
		if from.Len() != 0 || from.account.Pending() != 0 || len(from.h.ended) != 1 {
			t.Errorf("the first loop has %d connections, %d pending, %d ended", from.Len(), from.account.Pending(), len(from.h.ended))
		}
	})
	if n := descriptorCount(t); n != before {
		t.Errorf("%d descriptors, %d were before", n, before)
	}
	_ = conn.Close()
	to.gone(1)
}

// TestNobodyIsToldOfAReleasedConnection has bytes arrive that nobody reads yet.
func TestNobodyIsToldOfAReleasedConnection(t *testing.T) {
	released := make(chan int, 1)
	r := start(t, releasing(func(fd int) { released <- fd }))
	conn := r.dial()
	r.say(conn, "go", 0)
	fd := <-released
	defer unix.Close(fd)
	r.say(conn, "x", 0)
	_ = conn.(*net.TCPConn).CloseWrite()
	before := r.metric("homing_front_loop_turn_seconds")
	time.Sleep(3 * time.Second / 10)
	if n := r.metric("homing_front_loop_turn_seconds") - before; n > 10 {
		t.Errorf("%v turns in 3 ticks", n)
	}
	if n, err := unix.Read(fd, make([]byte, 10)); n != 2 || err != nil {
		t.Errorf("read %d bytes, %v, of the released connection", n, err)
	}
}

func TestOnlyAPlainIdleConnectionIsReleased(t *testing.T) {
	r := start(t, nil)
	r.say(r.dial(), "x", 2)
	r.on(func() {
		c := r.only()
		r.Cork(c)
		r.Send(c, &Message{Data: []byte("y\n"), Class: Must})
		if _, ok := r.Release(c); ok || c.Gone() {
			t.Error("one is released for which something waits")
		}
		r.Abandon(c, 0)
		r.End(c, []byte("z\n"), false)
		if _, ok := r.Release(c); ok || c.Gone() {
			t.Error("one is released that ends")
		}
		r.Drop(c, 0)
		if _, ok := r.Release(c); ok {
			t.Error("one is released that is gone")
		}
	})
	r, client := startTLS(t, nil)
	r.say(r.over(r.dial(), client), "x", 2)
	r.on(func() {
		if _, ok := r.Release(r.only()); ok {
			t.Error("one is released whose TLS ends here")
		}
	})
	r = start(t, behindProxy)
	r.dial()
	wait(t, "the connection", func() (ok bool) { r.on(func() { ok = r.Len() == 1 }); return ok })
	r.on(func() {
		if _, ok := r.Release(r.only()); ok {
			t.Error("one is released whose PROXY header has not come")
		}
	})
}

func TestAPassedConnectionCountsForItsAddress(t *testing.T) {
	charged := 0
	r := start(t, func(cfg *Config, h *lines) {
		cfg.Arrivals.AddressRate, cfg.Arrivals.AddressBurst = 1, 1
		h.charge = func(_ *Conn[text], n int) bool { charged += n; return true }
	})
	pass := func(from netip.Addr) net.Conn {
		fd, peer := socketPair(t)
		if !r.AdoptPassed(fd, []byte("x\n"), from, text{}) {
			t.Fatal("not taken")
		}
		return peer
	}
	conn := pass(someone)
	if got := r.read(conn, 2); got != "x\n" {
		t.Errorf("read %q", got)
	}
	r.on(func() {
		if charged != ReadCost || r.only().Addr() != someone || r.only().deadline() == 0 {
			t.Errorf("%d bytes charged to %v, deadline %d", charged, r.only().Addr(), r.only().deadline())
		}
	})
	r.wantEnd(pass(someone))
	if n := r.metric("homing_front_turned_away_total", "address_rate"); n != 1 {
		t.Errorf("%v turned away, want 1", n)
	}
	if got := r.read(pass(netip.MustParseAddr("192.0.2.2")), 2); got != "x\n" {
		t.Errorf("read %q", got)
	}
}

func TestALoopThatHasEndedClosesWhatIsPassed(t *testing.T) {
	r := start(t, nil)
	r.stop()
	fd, peer := socketPair(t)
	if r.AdoptPassed(fd, []byte("x\n"), someone, text{}) {
		t.Error("taken")
	}
	_ = peer.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v, want the end", err)
	}
}

// socketPair returns both ends of a connection, the first as a loop takes it.
func socketPair(tb testing.TB) (fd int, peer net.Conn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "peer")
	defer file.Close()
	if peer, err = net.FileConn(file); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = peer.Close() })
	_ = peer.SetDeadline(time.Now().Add(10 * time.Second))
	return fds[0], peer
}

// TestWhatIsNotReadStaysWithThePeer has a loop stop reading, and go on.
func TestWhatIsNotReadStaysWithThePeer(t *testing.T) {
	r := start(t, nil)
	fd, peer := socketPair(t)
	r.on(func() {
		r.SetReading(r.Attach(fd, text{part: []byte("its state ")}), false)
		if c := r.only(); c.Addr().IsValid() || r.account.Pending() != 0 || r.inService() != 1 {
			t.Errorf("of %v, %d pending, %d in service", c.Addr(), r.account.Pending(), r.inService())
		}
	})
	r.say(peer, "x", 0)
	_ = peer.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := peer.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes, %v, of a loop that does not read", n, err)
	}
	_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
	sent := 0
	r.on(func() {
		c := r.only()
		for c.out == nil { // what waits to be written does not have it read
			r.Send(c, &Message{Data: make([]byte, 4096)})
			sent += 4096
		}
	})
	r.read(peer, sent)
	wait(t, "all to be written", func() (written bool) { r.on(func() { written = r.only().out == nil }); return written })
	r.on(func() {
		if got := string(r.only().State.part); got != "its state " {
			t.Errorf("the handler has %q", got)
		}
		r.SetReading(r.only(), true)
	})
	if got := r.read(peer, len("its state x\n")); got != "its state x\n" {
		t.Errorf("read %q", got)
	}
}

// TestTheEndOfOneThatIsNotReadIsSeen ends it on either side.
func TestTheEndOfOneThatIsNotReadIsSeen(t *testing.T) {
	r := start(t, nil)
	fd, peer := socketPair(t)
	r.on(func() { r.SetReading(r.Attach(fd, text{}), false) })
	_ = peer.Close()
	r.gone(1)
	fd, peer = socketPair(t)
	r.on(func() {
		c := r.Attach(fd, text{})
		r.SetReading(c, false)
		r.End(c, []byte("bye\n"), false)
	})
	if n, err := peer.Write(make([]byte, 1<<20)); err != nil { // which nobody looks at
		t.Errorf("the peer got rid of %d bytes, %v", n, err)
	}
	if got, err := io.ReadAll(peer); string(got) != "bye\n" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	_ = peer.Close()
	begin := time.Now()
	r.gone(2)
	within(t, time.Since(begin), 0, 250*time.Millisecond) // not the close timeout
}
