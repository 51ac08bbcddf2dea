package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/front"
	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

var resumeDuration = flag.Duration("resume-duration", 10*time.Second, "how long TestResumeUnderLoad sends")

// resumeLosses is how many connections TestResumeUnderLoad takes away.
const resumeLosses = 200

// envMain makes the test binary the program itself.
const envMain = "_HOMING_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		os.Exit(Main())
	}
	goleak.VerifyTestMain(m)
}

// stack is two front workers and two API servers on a Redis of their own, and
// another one for the inboxes.
type stack struct {
	inbox  *redisproc.Server
	secret []byte
	apis   []string
	fronts []string

	registries []*prometheus.Registry // of all

	rooms string // file of classes of game rooms; empty: the fronts have no rooms
}

// stackWithKey starts a front and an API server that asks for a key, and returns
// that.
func stackWithKey(t *testing.T) (s *stack, key string) {
	t.Helper()
	file, key := keysFile(t)
	s = &stack{}
	s.start(t, redistest.Config(t, redistest.Server(t)), 1, file)
	return s, key
}

func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{inbox: redistest.Process(t, redisproc.ServerOptions{})}
	cfg := redistest.Config(t, redistest.Server(t))
	cfg.Inbox = []string{"redis://" + s.inbox.Addr()}
	s.start(t, cfg, 2, "")
	return s
}

// start starts as many front workers and API servers on the Redis that cfg
// names. keys is the file of keys that callers are asked for; empty: of none.
func (s *stack) start(t *testing.T, cfg redisx.Config, pairs int, keys string) {
	t.Helper()
	s.secret = []byte(newSecret())
	var ac apiConfig
	fc := frontConfig{Auth: auth.Config{Secret: s.secret}}
	if err := errors.Join(kong.ApplyDefaults(&ac), kong.ApplyDefaults(&fc)); err != nil {
		t.Fatal(err)
	}
	ac.Redis, fc.Redis = cfg, cfg
	ac.API.Listen, ac.API.ReusePort, ac.API.Keys, ac.API.AllowLoopback = "127.0.0.1:0", false, keys, keys == ""
	fc.Front.Listen, fc.Front.DrainWindow, fc.Front.DrainTimeout = "127.0.0.1:0", 0, time.Second
	for range pairs {
		s.startFront(t, fc)
		s.startAPI(t, ac)
	}
}

// background is newBackground for the time of the test, and what waits for a
// server that stands on it.
func (s *stack) background(t *testing.T) (*background, context.Context, *errgroup.Group) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	back, serving := newBackground(ctx)
	var server errgroup.Group
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(server.Wait(), back.stop()); err != nil {
			t.Error(err)
		}
	})
	return back, serving, &server
}

func (s *stack) startFront(t *testing.T, c frontConfig) {
	t.Helper()
	back, serving, server := s.background(t)
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	s.registries = append(s.registries, reg)
	r, err := openRedis(back, c.Redis, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := front.Listen(&c.Front)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := auth.New(c.Auth, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	if s.rooms != "" {
		c.Rooms.Secrets, c.Rooms.Classes, c.Rooms.URL = [][]byte{s.secret}, s.rooms, "ws://front.test/ws" // nobody goes there
	}
	w, err := newWorker(back, c, door{hub.NewProcessID(), listeners, verifier, false, nil}, r, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	s.fronts = append(s.fronts, "ws://"+w.front.Addresses()[0].String()+"/ws")
	server.Go(func() error { return w.run(func() error { return w.front.Run(serving) }) })
	ready, cancel := context.WithTimeout(serving, 30*time.Second)
	defer cancel()
	if err := w.waitReady(ready); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) startAPI(t *testing.T, c apiConfig) {
	t.Helper()
	back, serving, server := s.background(t)
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	s.registries = append(s.registries, reg)
	r, err := openRedis(back, c.Redis, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := newAPI(back, c, r, nil, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Listen(serving); err != nil {
		t.Fatal(err)
	}
	base := "http://" + srv.Addr().String()
	s.apis = append(s.apis, base)
	server.Go(func() error { return srv.Run(serving) })
	for deadline := time.Now().Add(10 * time.Second); status(serving, base+"/readyz") != http.StatusOK; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the API is not ready after 10s")
		}
	}
}

func status(ctx context.Context, url string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// post sends one notification and repeats it, as a backend would, until it is
// accepted.
func (s *stack) post(ctx context.Context, api string, body []byte) error {
	var refusal string
	for range 50 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/notify", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		reply, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
		refusal = string(reply)
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%s refused: %s", body, refusal)
}

// flaky is a connection that a test may take away, by closing it or by having
// it vanish: the server then goes on writing to it.
type flaky struct {
	net.Conn

	lost chan struct{}
	once sync.Once
}

func (f *flaky) Read(p []byte) (int, error) {
	select {
	case <-f.lost:
		return 0, io.ErrUnexpectedEOF
	default:
	}
	n, err := f.Conn.Read(p)
	select {
	case <-f.lost:
		return 0, io.ErrUnexpectedEOF
	default:
		return n, err
	}
}

// Close leaves a connection that has vanished open for the server.
func (f *flaky) Close() error {
	select {
	case <-f.lost:
		return nil
	default:
		return f.Conn.Close()
	}
}

// lose takes the connection away, and reports false when it was before.
func (f *flaky) lose(vanish bool) (fresh bool) {
	f.once.Do(func() {
		fresh = true
		if vanish {
			close(f.lost)
			_ = f.SetReadDeadline(time.Now()) // ends a Read under way
			return
		}
		_ = f.Conn.Close()
	})
	return fresh
}

// player is a client whose connections come and go.
type player struct {
	*client.Client

	current atomic.Pointer[flaky]
	up      atomic.Int64
	gone    atomic.Int64 // resumes that did not recover

	mu    sync.Mutex
	conns []*flaky
	seen  map[string][]int // guarded by mu: numbers by sender, in the order given to the application
}

func (s *stack) newPlayer(t *testing.T, user hub.UserID) *player {
	t.Helper()
	p := &player{seen: make(map[string][]int)}
	token, err := auth.Mint(s.secret, auth.Identity{User: user}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int64
	p.Client = client.New(client.Options{
		URL:   s.fronts[0],
		Token: client.StaticToken(token),
		Pause: func(error, *client.Reconnect) time.Duration { return rand.N(20 * time.Millisecond) },
		NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			to := s.fronts[int(dials.Add(1))%len(s.fronts)]
			c, err := (&net.Dialer{}).DialContext(ctx, network, to[len("ws://"):len(to)-len("/ws")])
			if err != nil {
				return nil, err
			}
			f := &flaky{Conn: c, lost: make(chan struct{})}
			p.mu.Lock()
			p.conns = append(p.conns, f)
			p.mu.Unlock()
			p.current.Store(f)
			return f, nil
		},
	}, client.Handler{
		Up: func(client.Hello) { p.up.Add(1) },
		Resumed: func(r client.Resumed) {
			if !r.Recovered {
				p.gone.Add(1)
			}
		},
		Notify: p.note,
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the client ended with %v", err)
		}
		for _, f := range p.conns {
			_ = f.Conn.Close()
		}
	})
	return p
}

// cargo is the data of a notification: the nth of one sender.
type cargo struct {
	Sender string `json:"sender"`
	N      int    `json:"n"`
}

func (p *player) note(n client.Notification) {
	var c cargo
	if err := json.Unmarshal(n.Data, &c); err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[c.Sender] = append(p.seen[c.Sender], c.N)
}

func (p *player) has(sender string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.seen[sender])
}

// check compares what the application was given with 1, 2, 3, … sent.
func (p *player) check(t *testing.T, sender string, sent int, ordered bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.seen[sender]
	times := make(map[int]int)
	disorder := 0
	for i, n := range got {
		times[n]++
		if i > 0 && n < got[i-1] {
			disorder++
		}
	}
	lost, repeated := 0, 0
	for n := 1; n <= sent; n++ {
		switch {
		case times[n] == 0:
			lost++
		case times[n] > 1:
			repeated++
		}
	}
	if !ordered {
		disorder = 0
	}
	if lost+repeated+disorder > 0 || len(got) != sent {
		t.Errorf("%s: of %d sent %d were given: %d lost, %d repeated, %d out of order", sender, sent, len(got), lost, repeated, disorder)
	}
}

// TestResumeUnderLoad takes a client's connection away at random, 200 times,
// while several senders at two API servers send to it. In the end it has been
// given everything, once each, in each sender's order.
func TestResumeUnderLoad(t *testing.T) {
	s := newStack(t)
	p := s.newPlayer(t, "ann")
	l := s.load(t, *resumeDuration)
	for losses := 0; losses < resumeLosses; {
		time.Sleep(rand.N(2 * *resumeDuration / resumeLosses))
		if p.lose() {
			losses++
		}
	}
	l.settle(t, p, true)
	if n := p.gone.Load(); n > 0 {
		t.Errorf("%d resumes were told that history is gone", n)
	}
}

// TestResumeWhileTheInboxIsAway has the inboxes' Redis hang in the middle.
// Nothing can be stored meanwhile, and clients that come back are told to ask
// again; live messages pass, so that order is not kept, but nothing is lost.
func TestResumeWhileTheInboxIsAway(t *testing.T) {
	s := newStack(t)
	p := s.newPlayer(t, "ann")
	l := s.load(t, 5*time.Second)
	for i := range 40 {
		time.Sleep(rand.N(200 * time.Millisecond))
		p.lose()
		var err error
		switch i {
		case 10:
			err = s.inbox.Stop()
		case 25:
			err = s.inbox.Cont()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.settle(t, p, false)
}

// lose takes the present connection away, and reports whether there was one.
func (p *player) lose() bool {
	f := p.current.Load()
	return f != nil && f.lose(rand.IntN(4) == 0)
}

// load is senders at work.
type load struct {
	senders []*sender
	group   errgroup.Group
}

type sender struct {
	name, class string
	sent        int // owned by its goroutine until the group is done
}

// load starts three senders, who stop after d.
func (s *stack) load(t *testing.T, d time.Duration) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	l := &load{senders: []*sender{{name: "mail", class: "must"}, {name: "gifts", class: "must"}, {name: "hints", class: "droppable"}}}
	for i, sender := range l.senders {
		l.group.Go(func() error { return s.sendUntil(ctx, s.apis[i%len(s.apis)], sender) })
	}
	return l
}

// settle waits until the senders are done and p has been given everything, and
// then checks it.
func (l *load) settle(t *testing.T, p *player, ordered bool) {
	t.Helper()
	if err := l.group.Wait(); err != nil {
		t.Fatal(err)
	}
	missing := func() (n int) {
		for _, s := range l.senders {
			n += max(0, s.sent-p.has(s.name))
		}
		return n
	}
	for deadline := time.Now().Add(15 * time.Second); missing() > 0 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // for repeats that should not come
	sent := 0
	for _, s := range l.senders {
		p.check(t, s.name, s.sent, ordered)
		sent += s.sent
	}
	t.Logf("sent %d, over %d connections", sent, p.up.Load())
}

// sendUntil sends to ann, about 40 times a second, until ctx ends.
func (s *stack) sendUntil(ctx context.Context, api string, from *sender) error {
	for n := 1; ; n++ {
		body := fmt.Appendf(nil, `{"id":"%s-%06d","users":["ann"],"class":%q,"store":"1h","data":{"sender":%q,"n":%d}}`, from.name, n, from.class, from.name, n)
		if err := s.post(context.WithoutCancel(ctx), api, body); err != nil {
			return err
		}
		from.sent = n
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(50 * time.Millisecond)):
		}
	}
}
