package loop

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is what the layer above is in tests: it takes lines and answers each.
// A test replaces what it wants to.
type lines struct {
	r        *rig
	line     func(c *Conn[text], line string)
	charge   func(c *Conn[text], n int) bool
	due      func(c *Conn[text]) Tick
	check    func(c *Conn[text])
	expired  func(c *Conn[text])
	flushed  func(c *Conn[text])
	ended    []drop.Reason
	lost     map[drop.Reason]Lost
	hungUp   []error
	stopping bool
}

// text is what a connection has sent of a line.
type text struct{ part []byte }

func (h *lines) BeginTurn()    {}
func (h *lines) EndTurn()      {}
func (h *lines) Tick()         {}
func (h *lines) Stopped() bool { return h.stopping }

func (h *lines) Charge(c *Conn[text], n int) bool { return h.charge == nil || h.charge(c, n) }

func (h *lines) Received(c *Conn[text], data []byte) {
	for _, b := range data {
		if b != '\n' {
			c.State.part = append(c.State.part, b)
			continue
		}
		line := string(c.State.part)
		c.State.part = nil
		h.line(c, line)
		if c.Gone() || c.Ending() {
			return
		}
	}
}

func (h *lines) Exceeded(*Conn[text], Budget)    {}
func (h *lines) HungUp(_ *Conn[text], err error) { h.hungUp = append(h.hungUp, err) }

func (h *lines) Flushed(c *Conn[text]) {
	if h.flushed != nil {
		h.flushed(c)
	}
}

func (h *lines) Due(c *Conn[text]) Tick {
	if h.due == nil {
		return 0
	}
	return h.due(c)
}

func (h *lines) Check(c *Conn[text]) {
	if h.check != nil {
		h.check(c)
	}
}

func (h *lines) Expired(c *Conn[text]) {
	if h.expired != nil {
		h.expired(c)
	}
}

func (h *lines) Ended(_ *Conn[text], why drop.Reason) { h.ended = append(h.ended, why) }

func (h *lines) Discarded(why drop.Reason, lost Lost) {
	all := h.lost[why]
	for class, n := range lost {
		all[class] += n
	}
	h.lost[why] = all
}

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

// start runs a loop that answers each line with itself, and takes every
// connection in at its first line.
func start(tb testing.TB, change func(*Config, *lines)) *rig {
	tb.Helper()
	r := &rig{t: tb, reg: prometheus.NewRegistry(), done: make(chan error, 1), h: &lines{lost: map[drop.Reason]Lost{}}}
	r.h.r = r
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
	r.Loop, err = New[text](cfg, []Listener{{FD: fd}}, slog.New(slog.DiscardHandler), r.reg, results)
	if err != nil {
		tb.Fatal(err)
	}
	r.addr = r.Addresses()[0].String()
	go func() { r.done <- r.Run(r.h) }()
	tb.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	if r.done == nil {
		return
	}
	r.Post(func() { r.h.stopping = true })
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
	r.done = nil
}

// on runs f on the loop and waits for it.
func (r *rig) on(f func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.Post(func() { f(); close(done) }) {
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

func (r *rig) metric(name string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += value(m)
			}
		}
	}
	return sum
}

func value(m *dto.Metric) float64 { return m.GetCounter().GetValue() + m.GetGauge().GetValue() }

func wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited 10s for %s", what)
		}
	}
}
