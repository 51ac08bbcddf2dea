package handoff

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a process that takes connections.
type rig struct {
	t       *testing.T
	process hub.ProcessID
	full    atomic.Bool // it is not ready
	deny    atomic.Bool // it has no room after all
	taken   chan Passed
	r       *Receiver
}

func start(t *testing.T, change func(*Receiver)) *rig {
	t.Helper()
	r := &rig{t: t, process: hub.NewProcessID(), taken: make(chan Passed, 1)}
	var err error
	if r.r, err = Listen(r.process, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r.r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.r.Run(ctx, func() bool { return !r.full.Load() }, r.take)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func (r *rig) take(p Passed) bool {
	if r.deny.Load() {
		_ = unix.Close(p.FD)
		return false
	}
	r.taken <- p
	return true
}

func (r *rig) dial() (*Line, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return Dial(ctx, r.process)
}

func (r *rig) line() *Line {
	r.t.Helper()
	l, err := r.dial()
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// client returns a client and the descriptor of its connection here.
func client(t *testing.T) (net.Conn, int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	file, err := here.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err = errors.Join(err, unix.SetNonblock(fd, true)); err != nil {
		t.Fatal(err)
	}
	return conn, fd
}

// wantEnd fails the test unless the client's connection ends within a moment.
func wantEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the client reads %v, want the end", err)
	}
}

func descriptorCount(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// leavesNothing fails the test when f leaves descriptors open.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	before := descriptorCount(t)
	f()
	for deadline := time.Now().Add(5 * time.Second); descriptorCount(t) > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors are open, %d were before", descriptorCount(t), before)
		}
	}
}

func TestAConnectionIsPassed(t *testing.T) {
	r := start(t, nil)
	for _, from := range []string{"", "192.0.2.1", "2001:db8::1"} {
		leavesNothing(t, func() {
			conn, fd := client(t)
			var addr netip.Addr
			if from != "" {
				addr = netip.MustParseAddr(from)
			}
			head := bytes.Repeat([]byte("0123456789abcdef"), MaxHead/16)
			if err := r.line().Pass(Passed{FD: fd, Head: head, Client: addr}); err != nil {
				t.Fatal(err)
			}
			p := <-r.taken
			if p.Client != addr || !bytes.Equal(p.Head, head) {
				t.Errorf("of %v: taken with the address %v and %d bytes", addr, p.Client, len(p.Head))
			}
			if flags, err := unix.FcntlInt(uintptr(p.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("programs that are started inherit the descriptor: %#x, %v", flags, err)
			}
			if _, err := unix.Write(p.FD, []byte("hello")); err != nil {
				t.Error(err)
			}
			_ = unix.Close(p.FD)
			if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
				t.Errorf("the client reads %q, %v", got, err)
			}
			_ = conn.Close()
		})
	}
}

func TestWhoIsNotHereIsKnownAtOnce(t *testing.T) {
	begin := time.Now()
	if _, err := Dial(t.Context(), hub.NewProcessID()); !errors.Is(err, ErrNotHere) {
		t.Errorf("error %v, want ErrNotHere", err)
	}
	r := start(t, nil)
	r.r.Close() // as the kernel does when it dies
	if _, err := r.dial(); !errors.Is(err, ErrNotHere) {
		t.Errorf("of a process that has ended: error %v, want ErrNotHere", err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("after %v", d)
	}
}

func TestAProcessThatTakesNothingSaysSo(t *testing.T) {
	r := start(t, nil)
	r.full.Store(true)
	leavesNothing(t, func() {
		if _, err := r.dial(); !errors.Is(err, ErrRefused) {
			t.Errorf("error %v, want ErrRefused", err)
		}
	})
	r.full.Store(false)
	r.line().Close()
}

func TestAnotherUsersProcessGetsNothing(t *testing.T) {
	r := start(t, func(r *Receiver) { r.uid++ })
	leavesNothing(t, func() {
		if _, err := r.dial(); !errors.Is(err, ErrRefused) {
			t.Errorf("the receiver answers another user: %v", err)
		}
	})
	r = start(t, nil)
	leavesNothing(t, func() {
		if _, err := dial(t.Context(), r.process, os.Getuid()+1); !errors.Is(err, ErrForeign) {
			t.Errorf("the passer goes on with another user's: %v", err)
		}
	})
}

// fake is a process that behaves as a test wants: it accepts, and calls f.
func fake(t *testing.T, f func(*net.UnixConn)) hub.ProcessID {
	t.Helper()
	process := hub.NewProcessID()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: address(os.Getuid(), process)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.AcceptUnix()
		if err == nil {
			f(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return process
}

func TestAProcessThatStandsStillIsGivenUp(t *testing.T) {
	process := fake(t, func(conn *net.UnixConn) { _, _ = conn.Read(make([]byte, 1)) }) // until the passer closes
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	leavesNothing(t, func() {
		if _, err := Dial(ctx, process); !errors.Is(err, ErrSilent) {
			t.Errorf("error %v, want ErrSilent", err)
		}
	})
}

func TestAProcessOfAnotherVersionIsLeftAlone(t *testing.T) {
	process := fake(t, func(conn *net.UnixConn) { _, _ = conn.Write([]byte{version + 1}) })
	if _, err := Dial(t.Context(), process); !errors.Is(err, ErrRefused) {
		t.Errorf("error %v, want ErrRefused", err)
	}
}

// TestWhoDiesInTheMiddleTakesTheClientWithIt has the receiver end after its
// first word, before and after it has got the descriptor.
func TestWhoDiesInTheMiddleTakesTheClientWithIt(t *testing.T) {
	for name, end := range map[string]func(*net.UnixConn){
		"before": func(*net.UnixConn) {},
		"after": func(conn *net.UnixConn) {
			if p, err := receive(conn); err == nil {
				_ = unix.Close(p.FD)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			process := fake(t, func(conn *net.UnixConn) { _, _ = conn.Write([]byte{version}); end(conn) })
			leavesNothing(t, func() {
				conn, fd := client(t)
				l, err := Dial(t.Context(), process)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Pass(Passed{FD: fd}); err == nil {
					t.Error("passed to nobody")
				}
				wantEnd(t, conn)
				_ = conn.Close()
			})
		})
	}
}

// TestWhoStopsInTheMiddleServesNobodyLater has the receiver hold the descriptor,
// and wake when the client was given up.
func TestWhoStopsInTheMiddleServesNobodyLater(t *testing.T) {
	wake := make(chan struct{}, 1)
	got := make(chan Passed, 1)
	process := fake(t, func(conn *net.UnixConn) {
		_, _ = conn.Write([]byte{version})
		<-wake
		p, err := receive(conn)
		if err != nil {
			t.Error(err)
		}
		got <- p
	})
	t.Cleanup(func() { wake <- struct{}{} }) // also when the test fails early
	conn, fd := client(t)
	l, err := Dial(t.Context(), process)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := l.Pass(Passed{FD: fd, Head: []byte("GET")}); !errors.Is(err, ErrSilent) {
		t.Errorf("error %v, want ErrSilent", err)
	}
	if d := time.Since(begin); d < answerTime || d > answerTime+time.Second {
		t.Errorf("given up after %v", d)
	}
	wantEnd(t, conn) // although the receiver still has the descriptor on its way
	wake <- struct{}{}
	p := <-got
	if n, err := unix.Read(p.FD, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("who wakes reads %d bytes, %v; want the end", n, err)
	}
	_ = unix.Close(p.FD)
}

func TestWhatHasNoRoomAfterAllIsEnded(t *testing.T) {
	r := start(t, nil)
	r.deny.Store(true)
	leavesNothing(t, func() {
		conn, fd := client(t)
		if err := r.line().Pass(Passed{FD: fd}); err == nil {
			t.Error("passed to a process that had no room")
		}
		wantEnd(t, conn)
		_ = conn.Close()
	})
}

func TestAHeadThatIsTooLongIsNotPassed(t *testing.T) {
	r := start(t, nil)
	leavesNothing(t, func() {
		conn, fd := client(t)
		if err := r.line().Pass(Passed{FD: fd, Head: make([]byte, MaxHead+1)}); err == nil {
			t.Error("passed")
		}
		wantEnd(t, conn)
		_ = conn.Close()
	})
}

// TestAReceiverTakesOnlyWhatIsWhole sends it what no passer would.
func TestAReceiverTakesOnlyWhatIsWhole(t *testing.T) {
	whole := func(change func(b []byte)) []byte {
		p := Passed{Client: netip.MustParseAddr("192.0.2.1"), Head: []byte("GET / HTTP/1.1")}
		b := p.append(nil)
		if change != nil {
			change(b)
		}
		return b
	}
	for name, tc := range map[string]struct {
		bytes []byte
		fds   int
	}{
		"no descriptor":     {whole(nil), 0},
		"two descriptors":   {whole(nil), 2},
		"half a header":     {whole(nil)[:headerSize/2], 1},
		"half a head":       {whole(nil)[:headerSize+3], 1},
		"another version":   {whole(func(b []byte) { b[0]++ }), 1},
		"a strange address": {whole(func(b []byte) { b[1] = 5 }), 1},
		"a long address":    {whole(func(b []byte) { b[1] = 255 }), 1},
		"a long head":       {whole(func(b []byte) { binary.BigEndian.PutUint32(b[lengthAt:], MaxHead+1) }), 1},
		"nothing":           {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil)
			leavesNothing(t, func() {
				conn, fd := client(t)
				var rights []byte
				if tc.fds > 0 {
					rights = unix.UnixRights([]int{fd, fd}[:tc.fds]...)
				}
				l := r.line()
				if len(tc.bytes) > 0 {
					if _, _, err := l.conn.WriteMsgUnix(tc.bytes, rights, nil); err != nil {
						t.Fatal(err)
					}
				}
				_ = l.conn.CloseWrite()
				if word, err := io.ReadAll(l.conn); len(word) > 0 {
					t.Errorf("answered %q, %v", word, err)
				}
				l.Close()
				_ = unix.Close(fd)
				wantEnd(t, conn) // the receiver has closed what it got
				_ = conn.Close()
			})
		})
	}
}

// TestNoMoreThanTheBoundAreReceivedAtATime keeps as many lines open as there may
// be.
func TestNoMoreThanTheBoundAreReceivedAtATime(t *testing.T) {
	r := start(t, nil)
	lines := make([]*Line, maxReceiving)
	for i := range lines {
		lines[i] = r.line()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, r.process); !errors.Is(err, ErrSilent) {
		t.Errorf("one more: %v, want ErrSilent", err)
	}
	time.AfterFunc(50*time.Millisecond, lines[0].Close)
	r.line().Close() // waits for the place
	for _, l := range lines[1:] {
		l.Close()
	}
}

func TestOneProcessListensOnce(t *testing.T) {
	r := start(t, nil)
	if second, err := Listen(r.process, slog.New(slog.DiscardHandler)); err == nil {
		second.Close()
		t.Error("two receivers have one name")
	}
	if second, err := Listen("not an id", slog.New(slog.DiscardHandler)); err == nil {
		second.Close()
		t.Error("a receiver has a bad name")
	}
}

func FuzzHeader(f *testing.F) {
	p := Passed{Client: netip.MustParseAddr("2001:db8::1"), Head: []byte("x")}
	f.Add(p.append(nil)[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		client, head, err := parseHeader((*[headerSize]byte)(b))
		if err == nil && (head < 0 || head > MaxHead || client.IsValid() != (b[1] > 0)) {
			t.Errorf("%v and %d bytes of %x", client, head, b)
		}
	})
}
