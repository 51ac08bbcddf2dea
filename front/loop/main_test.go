package loop

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a running loop.
type rig struct {
	*Loop[text]
	t    testing.TB
	h    *lines
	reg  *prometheus.Registry
	addr string
	done chan error
}

func testConfig() Config {
	return Config{
		HandshakeTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, CloseTimeout: 300 * time.Millisecond,
		TLSHandshakeLimit: 16 << 10, Backlog: 128, QueueBytes: 16 << 10, QueueMessages: 20,
		Arrivals: Arrivals{Pending: 1000, AddressPrefix: 64},
		TLS:      TLS{Handshakes: 8},
	}
}

// start runs a loop that answers each line with itself.
func start(tb testing.TB, change func(*Config, *lines)) *rig {
	tb.Helper()
	r := prepare(tb, change)
	r.run()
	return r
}

func (r *rig) run() {
	go func() { r.done <- r.Run(r.h) }()
	r.t.Cleanup(r.stop)
}

// prepare makes a loop that has not run yet.
func prepare(tb testing.TB, change func(*Config, *lines)) *rig {
	tb.Helper()
	r := &rig{t: tb, reg: prometheus.NewRegistry(), done: make(chan error, 1), h: &lines{lost: map[drop.Reason]Lost{}}}
	r.h.r = r
	r.h.turn = func(string) {}
	r.h.line = func(c *Conn[text], line string) { r.Send(c, &Message{Data: []byte(line + "\n"), Class: Must}) }
	cfg := testConfig()
	if change != nil {
		change(&cfg, r.h)
	}
	fd, err := epoll.Listen("127.0.0.1:0", epoll.Options{SendBuffer: 4096})
	if err != nil {
		tb.Fatal(err)
	}
	results := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "results"}, []string{"result"})
	r.reg.MustRegister(results)
	r.Loop, err = New[text](cfg, []Listener{{FD: fd, TLS: cfg.TLS.Cert != ""}}, slog.New(slog.DiscardHandler), r.reg, results)
	if err != nil {
		tb.Fatal(err)
	}
	r.addr = r.Addresses()[0].String()
	return r
}

func (r *rig) stop() {
	if r.done == nil {
		return
	}
	r.command(func() { r.h.stopping = true })
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	r.done = nil
}

// on runs f on the loop and waits for it.
func (r *rig) on(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.put(func() { f(); close(done) }, maxPosts+maxCommands) {
		r.t.Fatal("the loop takes no post")
	}
	<-done
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// dialFrom connects from an address of this machine.
func (r *rig) dialFrom(addr string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	conn, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// dialSlow connects with so small a buffer that a few messages fill it.
func (r *rig) dialSlow() net.Conn {
	r.t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
		return errors.Join(control, err)
	}}
	conn, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// say sends a line and reads n bytes of the answer.
func (r *rig) say(conn net.Conn, line string, n int) string {
	r.t.Helper()
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		r.t.Fatal(err)
	}
	return r.read(conn, n)
}

func (r *rig) read(conn net.Conn, n int) string {
	r.t.Helper()
	buf := make([]byte, n)
	if m, err := io.ReadFull(conn, buf); err != nil {
		r.t.Fatalf("read %d of %d bytes: %v", m, n, err)
	}
	return string(buf)
}

// wantEnd fails the test unless the connection ends now.
func (r *rig) wantEnd(conn net.Conn) {
	r.t.Helper()
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 {
		r.t.Error("the connection goes on")
	} else if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		r.t.Error("the connection has not ended")
	}
}

// only returns the one connection there is.
func (r *rig) only() (c *Conn[text]) {
	for place := range r.Places() {
		if at := r.At(place); at != nil {
			c = at
		}
	}
	return c
}

// metric is the sum of a metric over its series, or over those with a label of
// the value.
func (r *rig) metric(name string, values ...string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				if hasLabels(m, values) {
					sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, values []string) bool {
	for _, v := range values {
		if !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == v }) {
			return false
		}
	}
	return true
}

// gone waits until n connections have ended.
func (r *rig) gone(n int) {
	r.t.Helper()
	wait(r.t, "connections to be gone", func() (gone bool) {
		r.on(func() { gone = len(r.h.ended) >= n })
		return gone
	})
}

// within fails the test unless a duration lies between two others.
func within(tb testing.TB, d, low, high time.Duration) {
	tb.Helper()
	if d < low || d > high {
		tb.Errorf("after %v, want %v to %v", d, low, high)
	}
}

func wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited 10s for %s", what)
		}
	}
}
