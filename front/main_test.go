package front

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	gws "github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// TestMain is also the main of an owner, which is another process.
func TestMain(m *testing.M) {
	if os.Getenv(envOwner) != "" {
		ownerMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// fakeAuth takes tokens of the form user or user@service. The key of the user
// slow is fetched once hold is closed.
type fakeAuth struct{ hold chan struct{} }

func (fakeAuth) MayWait() bool { return true }

func (f fakeAuth) VerifyNow(token string) (auth.Identity, error) {
	if user, _, _ := strings.Cut(token, "@"); user == "slow" {
		return auth.Identity{}, auth.ErrUnknownKey
	}
	return f.Verify(context.Background(), token)
}

func (f fakeAuth) Verify(ctx context.Context, token string) (auth.Identity, error) {
	user, service, _ := strings.Cut(token, "@")
	switch user {
	case "":
		return auth.Identity{}, auth.ErrMissing
	case "bad":
		return auth.Identity{}, auth.ErrBadSignature
	case "expired":
		return auth.Identity{}, auth.ErrExpired
	case "broken":
		return auth.Identity{}, errors.New("key server down")
	case "slow":
		select {
		case <-f.hold:
		case <-ctx.Done():
			return auth.Identity{}, ctx.Err()
		}
	}
	return auth.Identity{User: hub.UserID(user), Service: hub.Service(service)}, nil
}

// fakePresence is an index in memory. While it is away, registrations wait.
type fakePresence struct {
	mu      sync.Mutex
	users   map[hub.UserID][]hub.ServiceCount
	sets    int
	away    bool
	waiting []func(error)
}

func (p *fakePresence) Set(user hub.UserID, services []hub.ServiceCount, done func(error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets++
	if len(services) == 0 {
		delete(p.users, user)
	} else {
		p.users[user] = services
	}
	switch {
	case done == nil:
	case p.away:
		p.waiting = append(p.waiting, done)
	default:
		done(nil)
	}
}

func (p *fakePresence) SetConnections(int) {}

func (p *fakePresence) goAway() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
}

func (p *fakePresence) back(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
	for _, done := range p.waiting {
		done(err)
	}
	p.waiting = nil
}

func (p *fakePresence) of(user hub.UserID) []hub.ServiceCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[user]
}

func (p *fakePresence) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.users)
}

// rig is a running worker.
type rig struct {
	*Worker
	t        testing.TB
	addr     string
	presence *fakePresence
	auth     fakeAuth
	standing fakeStanding
	reg      *prometheus.Registry
	stop     func() error // ends the worker and returns Run's error
}

func testConfig(tb testing.TB) Config {
	tb.Helper()
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		tb.Fatal(err)
	}
	cfg.Listen = "127.0.0.1:0"
	cfg.DrainWindow = 0
	cfg.DrainTimeout = time.Second
	cfg.CloseTimeout = 500 * time.Millisecond
	return cfg
}

func start(tb testing.TB, change func(*Config)) *rig {
	tb.Helper()
	return startWith(tb, nil, change)
}

// startWith runs a worker whose clients resume from inbox.
func startWith(tb testing.TB, inbox Inbox, change func(*Config)) *rig {
	tb.Helper()
	return startLogging(tb, testLog(tb), inbox, change)
}

// startLogging is startWith of a worker that logs to log.
func startLogging(tb testing.TB, log *slog.Logger, inbox Inbox, change func(*Config)) *rig {
	tb.Helper()
	return startDeps(tb, func(d *Deps) { d.Log, d.Inbox = log, inbox }, change)
}

// startDeps is start of a worker with other Deps.
func startDeps(tb testing.TB, depend func(*Deps), change func(*Config)) *rig {
	tb.Helper()
	r := &rig{
		t: tb, reg: newRegistry(),
		presence: &fakePresence{users: make(map[hub.UserID][]hub.ServiceCount)},
		auth:     fakeAuth{hold: make(chan struct{})},
	}
	cfg := testConfig(tb)
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	listeners, err := Listen(&cfg)
	if err != nil {
		tb.Fatal(err)
	}
	deps := Deps{Process: "process-abc", Auth: r.auth, Presence: r.presence, Standing: r.standing.now, Log: testLog(tb), Registry: r.reg}
	depend(&deps)
	r.Worker, err = NewWorker(cfg, listeners, deps)
	if err != nil {
		tb.Fatal(err)
	}
	r.run()
	return r
}

// startEcho runs an echo worker.
func startEcho(tb testing.TB) *rig {
	tb.Helper()
	cfg := testConfig(tb)
	cfg.MaxMessage = 16 << 20
	cfg.AdmitRate = 1 // of which an echo server knows nothing
	r := &rig{t: tb, reg: newRegistry()}
	var err error
	if r.Worker, err = NewEcho(cfg, testLog(tb), r.reg); err != nil {
		tb.Fatal(err)
	}
	r.run()
	return r
}

func (r *rig) run() {
	addrs := r.Addresses()
	r.addr = addrs[len(addrs)-1].String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Errorf("worker: %v", err)
		}
	})
}

func testLog(tb testing.TB) *slog.Logger {
	tb.Helper()
	if os.Getenv("HOMING_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// metric is the sum of a metric over the series that carry all the labels,
// given as name, value, name, value and so on.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	return metricOf(r.t, r.reg, name, labels...)
}

func metricOf(tb testing.TB, reg *prometheus.Registry, name string, labels ...string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if hasLabels(m, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// wait polls until ok reports true.
func wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited 10s for %s", what)
		}
	}
}

// peer is one WebSocket connection of somebody else's code.
type peer struct {
	net.Conn
	t  testing.TB
	br io.Reader
}

func readFrame(r io.Reader) (gws.Frame, error) {
	h, err := gws.ReadHeader(r)
	if err != nil {
		return gws.Frame{}, err
	}
	f := gws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// dial connects without waiting for hello. query is appended to /ws.
func (r *rig) dial(query string) *peer {
	r.t.Helper()
	conn, br, _, err := (gws.Dialer{Timeout: 5 * time.Second}).Dial(context.Background(), "ws://"+r.addr+"/ws"+query)
	if err != nil {
		r.t.Fatalf("dial %s: %v", query, err)
	}
	return newClient(r.t, conn, br)
}

func newClient(tb testing.TB, conn net.Conn, br *bufio.Reader) *peer {
	tb.Cleanup(func() { _ = conn.Close() })
	c := &peer{Conn: conn, t: tb, br: conn}
	if br != nil {
		c.br = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	return c
}

// join connects as user (or user@service) and reads hello.
func (r *rig) join(token string) *peer {
	r.t.Helper()
	c := r.dial("?token=" + token)
	hello := c.json()
	if hello["t"] != "hello" {
		r.t.Fatalf("first message %v, want hello", hello)
	}
	return c
}

// frame reads one frame within five seconds.
func (c *peer) frame() (gws.Frame, error) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	return readFrame(c.br)
}

// next reads one frame and fails the test when there is none.
func (c *peer) next() gws.Frame {
	c.t.Helper()
	f, err := c.frame()
	if err != nil {
		c.t.Fatalf("read a frame: %v", err)
	}
	return f
}

// skipReply reads the reply to a handshake.
func (c *peer) skipReply() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	var reply []byte
	for !bytes.HasSuffix(reply, []byte("\r\n\r\n")) {
		var b [1]byte
		if _, err := io.ReadFull(c.br, b[:]); err != nil {
			c.t.Fatalf("read the reply %q: %v", reply, err)
		}
		reply = append(reply, b[0])
	}
}

// json reads one text message.
func (c *peer) json() map[string]any {
	c.t.Helper()
	f := c.next()
	if f.Header.OpCode != gws.OpText {
		c.t.Fatalf("frame %v %q, want text", f.Header.OpCode, f.Payload)
	}
	var m map[string]any
	if err := json.Unmarshal(f.Payload, &m); err != nil {
		c.t.Fatalf("message %q: %v", f.Payload, err)
	}
	return m
}

// closed reads until the close frame and returns its code and reason.
func (c *peer) closed() (int, string) {
	c.t.Helper()
	for {
		f := c.next()
		if f.Header.OpCode == gws.OpClose {
			code, reason := gws.ParseCloseFrameData(f.Payload)
			return int(code), reason
		}
	}
}

// wantClose reads until the close frame, checks it, and that EOF follows.
func (c *peer) wantClose(code int) {
	c.t.Helper()
	if got, reason := c.closed(); got != code {
		c.t.Fatalf("closed with %d %q, want %d", got, reason, code)
	}
	if _, err := c.frame(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("after the close frame: %v, want EOF", err)
	}
}

func (c *peer) text(s string) {
	c.t.Helper()
	c.write(gws.MaskFrame(gws.NewTextFrame([]byte(s))))
}

func (c *peer) write(f gws.Frame) {
	c.t.Helper()
	if err := gws.WriteFrame(c.Conn, f); err != nil {
		c.t.Fatalf("write a frame: %v", err)
	}
}

// quiet fails the test when something arrives within d.
func (c *peer) quiet(d time.Duration) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if f, err := readFrame(c.br); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("frame %v %q, error %v; want silence", f.Header.OpCode, f.Payload, err)
	}
}

// note builds an envelope for users.
func note(data string, users ...hub.UserID) hub.Envelope {
	n := hub.Notification{ID: "n1", Data: json.RawMessage(data)}
	return hub.Envelope{Kind: hub.KindNotify, ID: n.ID, Users: users, Payload: n.Render()}
}

func (r *rig) deliver(e hub.Envelope) { r.Deliver(e.Append(nil), false, nil) }

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

func valueOf(tb testing.TB, c prometheus.Counter) float64 {
	tb.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		tb.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// socketPair returns a connection's descriptor, as a worker adopts it, and the
// peer.
func socketPair(tb testing.TB) (fd int, peer net.Conn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	if peer, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = peer.Close() })
	conn, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	if err := raw.Control(func(of uintptr) { fd, err = unix.Dup(int(of)) }); err != nil {
		tb.Fatal(err)
	}
	if err = errors.Join(err, unix.SetNonblock(fd, true)); err != nil {
		tb.Fatal(err)
	}
	return fd, peer
}
