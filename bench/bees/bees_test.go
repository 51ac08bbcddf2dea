package bees

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
)

// The test binary is its own bee process when the variable is set.
const asBee = "HOMING_TEST_BEE"

func TestMain(m *testing.M) {
	if os.Getenv(asBee) != "" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// fakeFront is a tiny front: it registers each client under its token's user.
type fakeFront struct {
	ln    net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[string]net.Conn
	pongs int
}

func startFront(t *testing.T) *fakeFront {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeFront{ln: ln, conns: map[string]net.Conn{}}
	f.wg.Add(1)
	go f.accept()
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fakeFront) accept() {
	defer f.wg.Done()
	for {
		c, err := f.ln.Accept()
		if err != nil {
			return
		}
		f.wg.Add(1)
		go f.serve(c)
	}
}

func (f *fakeFront) serve(c net.Conn) {
	defer f.wg.Done()
	defer c.Close()
	var user string
	u := ws.Upgrader{
		Protocol: func(p []byte) bool { return string(p) == "homing.v1" },
		OnRequest: func(uri []byte) error {
			q, err := url.Parse(string(uri))
			if err != nil {
				return err
			}
			token, err := jwt.Parse(q.Query().Get("token"), func(*jwt.Token) (any, error) { return testSecret, nil })
			if err != nil {
				return ws.RejectConnectionError(ws.RejectionStatus(401))
			}
			user, err = token.Claims.GetSubject()
			return err
		},
	}
	if _, err := u.Upgrade(c); err != nil {
		return
	}
	_ = ws.WriteFrame(c, ws.NewTextFrame([]byte(`{"t":"hello","user":"`+user+`","conn":"x","ping":1000}`)))
	_ = ws.WriteFrame(c, ws.NewPingFrame([]byte("p")))
	f.mu.Lock()
	f.conns[user] = c
	f.mu.Unlock()
	for {
		h, err := ws.ReadHeader(c)
		if err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, h.Length); err != nil {
			return
		}
		if h.OpCode == ws.OpPong {
			f.mu.Lock()
			f.pongs++
			f.mu.Unlock()
		}
	}
}

func (f *fakeFront) write(user hub.UserID, p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.conns[string(user)]; c != nil {
		_, _ = c.Write(p)
	}
}

func (f *fakeFront) url() string { return "ws://" + f.ln.Addr().String() + "/ws" }

func notify(n uint32) []byte {
	data := AppendData(nil, time.Now().UnixNano(), n, 120)
	return ws.MustCompileFrame(ws.NewTextFrame(fmt.Appendf(nil, `{"t":"notify","id":"x%d","data":%s}`, n, data)))
}

func startHive(t *testing.T, conns int) *Hive {
	t.Helper()
	h, err := Start([]string{os.Args[0]}, []string{asBee + "=1"}, 2, conns, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestHiveCountsAndVerifies(t *testing.T) {
	front, plan := startFront(t), Plan{Seed: 7, Conns: 300, Targets: 40, Online: 20}
	h := startHive(t, plan.Conns)
	counts, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: plan.Conns}, nil)
	if err != nil || counts.Open != plan.Conns {
		t.Fatalf("Connect = %+v, %v", counts, err)
	}
	if err := h.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	const sent = 50
	picker := NewPicker(plan)
	var lost, twice hub.UserID
	for n := range uint32(sent) {
		for i, u := range picker.Online(n, nil) {
			switch {
			case n == 3 && i == 0:
				lost = User(int(u))
			case n == 4 && i == 0:
				twice = User(int(u))
				front.write(twice, append(notify(n), notify(n)...))
			default:
				p := notify(n)
				front.write(User(int(u)), p[:50]) // in two reads, more often than not
				front.write(User(int(u)), p[50:])
			}
		}
	}
	stray := strayUser(plan, 9)
	front.write(User(stray), notify(9))
	waitDeliveries(t, h, sent*plan.Online+1)
	v, err := h.Verify(t.Context(), plan, Sent{N: sent, Refused: []uint32{5}})
	want := Verdict{Expected: (sent - 1) * plan.Online, Lost: 1, Duplicated: 1, Stray: 1}
	if err != nil || v != want {
		t.Fatalf("Verify = %+v, %v; want %+v (lost by %s, twice at %s)", v, err, want, lost, twice)
	}
	if front.mu.Lock(); front.pongs != plan.Conns {
		t.Errorf("%d pongs, want %d", front.pongs, plan.Conns)
	}
	front.mu.Unlock()
}

// strayUser is a connected user that notification n does not name.
func strayUser(p Plan, n uint32) int {
	named := NewPicker(p).Online(n, nil)
	for u := range p.Conns {
		if !slices.Contains(named, int32(u)) {
			return u
		}
	}
	return -1
}

func waitDeliveries(t *testing.T, h *Hive, want int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, lag, err := h.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Deliveries == want && lag.TotalCount() == int64(want) {
			if c.Violations != 0 || lag.Max() <= 0 {
				t.Fatalf("counts = %+v, slowest %d µs", c, lag.Max())
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries, want %d", c.Deliveries, want)
		}
	}
}

func TestHiveSaysWhyConnectsFail(t *testing.T) {
	front := startFront(t)
	h := startHive(t, 10)
	_, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Secret: []byte("a secret that is not the front's"), Conns: 10}, nil)
	if err == nil || !strings.Contains(err.Error(), "10 of 10 connects failed") || !strings.Contains(err.Error(), "401") {
		t.Fatalf("error = %v", err)
	}
	if _, err := h.Connect(t.Context(), Target{Fronts: []string{"http://x"}}, nil); err == nil {
		t.Fatal("no error for a front that is not ws://")
	}
}

func TestConnectKeepsToItsRate(t *testing.T) {
	front := startFront(t)
	h := startHive(t, 100)
	start := time.Now()
	c, err := h.Connect(t.Context(), Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 100, Rate: 200}, nil)
	if took := time.Since(start); err != nil || c.Open != 100 || took < 400*time.Millisecond || took > 3*time.Second {
		t.Fatalf("100 connects at 200/s: %+v, %v, %v", c, took, err)
	}
}

func TestPlan(t *testing.T) {
	p := Plan{Seed: 1, Conns: 1000, Targets: 300, Online: 150}
	a, b := NewPicker(p), NewPicker(p)
	_ = b.Online(41, nil) // the order of calls does not matter
	users := a.Users(42, nil)
	online := b.Online(42, nil)
	seen := map[hub.UserID]bool{}
	for _, u := range users {
		if seen[u] || u.Check() != nil {
			t.Fatalf("user %q twice or bad", u)
		}
		seen[u] = true
	}
	if len(users) != 300 || len(online) != 150 {
		t.Fatalf("%d users, %d online", len(users), len(online))
	}
	for _, u := range online {
		if !seen[User(int(u))] {
			t.Fatalf("user %d is due but not named", u)
		}
	}
	if small := NewPicker(Plan{Conns: 3, Targets: 10, Online: 5}); len(small.Online(0, nil)) != 3 {
		t.Error("want every connected user when there are fewer than asked for")
	}
}

func TestVerifySeesEverything(t *testing.T) {
	p := Plan{Seed: 3, Conns: 20, Targets: 10, Online: 10}
	got := func() [][]uint32 {
		g := make([][]uint32, p.Conns)
		picker := NewPicker(p)
		for n := range uint32(30) {
			for _, u := range picker.Online(n, nil) {
				g[u] = append(g[u], n)
			}
		}
		return g
	}
	cases := map[string]struct {
		change func([][]uint32)
		want   Verdict
	}{
		"exact":      {func([][]uint32) {}, Verdict{Expected: 300}},
		"lost":       {func(g [][]uint32) { g[4] = g[4][1:] }, Verdict{Expected: 300, Lost: 1}},
		"lost last":  {func(g [][]uint32) { g[4] = g[4][:len(g[4])-1] }, Verdict{Expected: 300, Lost: 1}},
		"duplicated": {func(g [][]uint32) { g[4] = append(g[4], g[4][0], g[4][0]) }, Verdict{Expected: 300, Duplicated: 2}},
		"stray":      {func(g [][]uint32) { g[4] = append(g[4], 1000) }, Verdict{Expected: 300, Stray: 1}},
		"reversed":   {func(g [][]uint32) { slices.Reverse(g[4]) }, Verdict{Expected: 300}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := got()
			c.change(g)
			if v := verify(p, Sent{N: 30}, 0, g); v != c.want {
				t.Errorf("verdict = %+v, want %+v", v, c.want)
			}
		})
	}
}

func TestStampRoundTrip(t *testing.T) {
	data := AppendData(nil, 1234567890123456789, 4294967295, 120)
	if len(data) != 120 {
		t.Errorf("%d bytes of data, want 120", len(data))
	}
	s, ok := parseStamp(slices.Concat([]byte(`{"t":"notify","id":"a","data":`), data, []byte("}")))
	if !ok || s.at != 1234567890123456789 || s.n != 4294967295 {
		t.Errorf("stamp = %+v, %v", s, ok)
	}
	for _, bad := range []string{"", `{"t":"notify"}`, `"data":{"at":12}`, `"data":{"at":`} {
		if _, ok := parseStamp([]byte(bad)); ok {
			t.Errorf("stamp found in %q", bad)
		}
	}
}

func TestParseFrameLengths(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		whole := ws.MustCompileFrame(ws.NewTextFrame(make([]byte, size)))
		for cut := range len(whole) {
			if cut > 12 && cut < len(whole)-2 {
				continue
			}
			if _, n, err := parseFrame(whole[:cut]); n != 0 || err != nil {
				t.Fatalf("%d bytes of a frame of %d: %d, %v", cut, size, n, err)
			}
		}
		f, n, err := parseFrame(append(whole, 0x81))
		if err != nil || n != len(whole) || len(f.payload) != size || f.op != ws.OpText {
			t.Fatalf("frame of %d: %d bytes, %v", size, n, err)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte{0x81, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := parseFrame(b)
		if err == nil && (n > len(b) || len(fr.payload) > n) {
			t.Fatalf("frame of %d bytes in %d", n, len(b))
		}
		parseStamp(b)
	})
}

func TestServeEndsWithItsInput(t *testing.T) {
	if err := Serve(t.Context(), strings.NewReader(`{"do":"nonsense"}`+"\nnot json\n"), io.Discard); err != nil {
		t.Fatal(err)
	}
}
