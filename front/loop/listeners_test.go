package loop

import (
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
)

// shared has the listener count as one that somebody else holds too.
func (r *rig) shared() { r.listeners.all[0].Shared = true }

// dup returns the listener again, for another holder.
func (r *rig) dup() int {
	r.t.Helper()
	fd, err := unix.FcntlInt(uintptr(r.listeners.all[0].FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return fd
}

func (r *rig) refuses() bool {
	conn, err := net.Dial("tcp", r.addr)
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

func TestMutedListenersLeaveTheirQueueAlone(t *testing.T) {
	r := prepare(t, nil)
	r.shared()
	r.run()
	r.say(r.dial(), "x", 2)
	r.Mute()
	r.on(func() {})
	conn := r.dial()
	_, _ = io.WriteString(conn, "y\n")
	time.Sleep(3 * TickLength)
	if n := r.metric("homing_front_accepted_connections_total"); n != 1 {
		t.Errorf("%v accepted, want 1", n)
	}
	r.Listen()
	if got := r.read(conn, 2); got != "y\n" {
		t.Errorf("read %q", got)
	}
}

func TestAListenerOfItsOwnIsNotMuted(t *testing.T) {
	r := start(t, nil)
	r.Mute()
	r.on(func() {})
	r.say(r.dial(), "x", 2)
}

// A master's word is taken even when too many posts wait.
func TestCommandsFindRoomAmongPosts(t *testing.T) {
	r := prepare(t, nil)
	r.shared()
	for r.Post(func() {}) {
	}
	r.Mute()
	r.run()
	wait(t, "the listener to be muted", func() (muted bool) {
		r.on(func() { muted = r.listeners.muted && !r.listeners.all[0].open })
		return muted
	})
}

// dialMany has more clients dial, and say something, than one turn accepts.
func (r *rig) dialMany() (all []net.Conn) {
	r.t.Helper()
	for range 2 * acceptBudget {
		conn := r.dial()
		_, _ = io.WriteString(conn, "x\n")
		all = append(all, conn)
	}
	return all
}

// Those who wait to be accepted when a loop leaves are served all the same.
func TestWhoLeavesServesTheQueue(t *testing.T) {
	r := start(t, nil)
	var all []net.Conn
	r.on(func() {
		all = r.dialMany()
		r.LeaveListeners()
		r.LeaveListeners()
	})
	for _, conn := range all {
		r.read(conn, 2)
	}
	if !r.refuses() {
		t.Error("the loop listens still")
	}
	r.Listen()
	r.on(func() {})
	if !r.refuses() {
		t.Error("the loop listens again")
	}
}

func TestWhoLeavesASharedListenerLeavesTheQueueToOthers(t *testing.T) {
	r := prepare(t, nil)
	r.shared()
	fd := r.dup()
	r.run()
	var all []net.Conn
	r.on(func() {
		all = r.dialMany()
		r.LeaveListeners()
	})
	heir := prepare(t, nil)
	_ = epoll.Close(heir.listeners.all[0].FD)
	heir.listeners.all[0].FD = fd
	if err := heir.listen(heir.listeners.all[0]); err != nil {
		t.Fatal(err)
	}
	heir.run()
	for _, conn := range all {
		r.read(conn, 2)
	}
	if n := r.metric("homing_front_accepted_connections_total"); n != 0 {
		t.Errorf("%v accepted by who left, want 0", n)
	}
}

func TestAListenerThatAnotherHolderShutDownOpensAgain(t *testing.T) {
	r := prepare(t, nil)
	r.shared()
	fd := r.dup()
	r.run()
	defer func() { _ = epoll.Close(fd) }()
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		t.Fatal(err)
	}
	wait(t, "the listener", func() bool { return !r.refuses() })
	r.say(r.dial(), "x", 2)
}

// While descriptors run short nobody is accepted, whoever asks for it; those who
// are in service stay.
func TestListenersCloseWhenDescriptorsRunShort(t *testing.T) {
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, func(cfg *Config, h *lines) {
		cfg.MaxDescriptors = (len(used) + 30) * 20 / 19
		echo := h.line
		h.line = func(c *Conn[text], line string) {
			if line == "in" {
				h.r.TakeIn(c, 0)
			}
			echo(c, line)
		}
	})
	high := r.listeners.limit.high
	var all []net.Conn
	for range high {
		conn := r.dial()
		r.say(conn, "in", 3)
		all = append(all, conn)
	}
	r.Listen()
	r.on(func() {})
	if !r.refuses() {
		t.Error("the listener is open")
	}
	r.say(all[0], "still here", 11)
	for range high - r.listeners.limit.low {
		_ = all[0].Close()
		all = all[1:]
	}
	wait(t, "the listener to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.say(r.dial(), "x", 2)
	if n := r.metric("homing_front_unlistens_total"); n != 1 {
		t.Errorf("closed %v times, want 1", n)
	}
}

// accepted returns a connection that somebody else has accepted, as both its
// ends: the descriptor to hand over, and the client's.
func accepted(t *testing.T) (fd int, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	control := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if control != nil || err != nil {
		t.Fatal(control, err)
	}
	return fd, client
}

func TestAdoptedConnectionsAreServed(t *testing.T) {
	r := start(t, nil)
	fd, client := accepted(t)
	r.Adopt(fd, false)
	r.say(client, "x", 2)
	r.on(func() {
		if from := r.only().Addr().String(); from != "127.0.0.1" {
			t.Errorf("it comes from %s", from)
		}
	})
}

func TestALoopThatHasEndedClosesWhatItAdopts(t *testing.T) {
	r := start(t, nil)
	r.stop()
	fd, client := accepted(t)
	r.Adopt(fd, false)
	r.wantEnd(client)
}

// A loop that cannot be made closes the listeners that it was given.
func TestALoopThatCannotBeMadeClosesItsListeners(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"trusted proxies": func(cfg *Config) { cfg.Arrivals.TrustedProxies = []string{"nobody"} },
		"certificate":     func(cfg *Config) { cfg.TLS.Cert, cfg.TLS.NeedCertificate = "/nowhere", true },
	} {
		fd, err := epoll.Listen("127.0.0.1:0", epoll.Options{})
		if err != nil {
			t.Fatal(err)
		}
		at, err := epoll.LocalAddr(fd)
		if err != nil {
			t.Fatal(err)
		}
		cfg := testConfig()
		spoil(&cfg)
		results := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "results"}, []string{"result"})
		_, err = New[text](cfg, []Listener{{FD: fd, TLS: true}}, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), results)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if conn, err := net.Dial("tcp", at.String()); err == nil {
			t.Errorf("%s: the listener is open", name)
			_ = conn.Close()
		}
	}
}
