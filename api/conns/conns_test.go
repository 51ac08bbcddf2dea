package conns

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts is an Owner with room for some.
type counts struct {
	mu         sync.Mutex
	used, most int
	unpaid     *rate.Limiter
}

func (c *counts) Unpaid() *rate.Limiter { return c.unpaid }

func (c *counts) TakeConn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == c.most {
		return false
	}
	c.used++
	return true
}

func (c *counts) GiveConn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used--
}

// from is a connection of an address, without a network.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr)) }
func (f from) Close() error         { return nil }

func request(t *testing.T, c net.Conn) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(Context(t.Context(), c), http.MethodGet, "/", nil)
}

func TestLimits(t *testing.T) {
	refused := map[Reason]int{}
	tab := NewTable(Config{Most: 5, Strangers: 2}, func(r Reason) { refused[r]++ })
	enter := func(addr, closes string) *Conn {
		t.Helper()
		in, out := tab.enter(from{addr: addr})
		got := ""
		if out != nil {
			got = out.RemoteAddr().String()
		}
		if got != closes || in == nil && closes != addr {
			t.Errorf("%s closes %q, want %q", addr, got, closes)
		}
		return in
	}
	oldest, a, b := enter("192.0.2.1:1", ""), enter("[::ffff:192.0.2.1]:2", ""), enter("192.0.2.1:3", "192.0.2.1:1")
	if refused[ReasonAddress] != 1 {
		t.Errorf("refused %v", refused)
	}
	oldest.Close() // by whoever serves it
	// One /64 is one caller.
	enter("[2001:db8::1]:1", "")
	six, other := enter("[2001:db8::2]:1", ""), enter("[2001:db8::3]:1", "[2001:db8::1]:1")
	owner := &counts{most: 1}
	if !Known(request(t, a), owner) || !Known(request(t, a), &counts{}) {
		t.Error("a known one must leave")
	}
	if Known(request(t, b), owner) {
		t.Error("the second of the key may stay")
	}
	if all, strangers := tab.Open(); all != 4 || strangers != 2 {
		t.Errorf("%d open, %d strangers", all, strangers)
	}
	// Strangers make room for each other; those who are known keep theirs.
	c := enter("192.0.2.1:4", "")
	d := enter("192.0.2.9:1", "[2001:db8::2]:1")
	if refused[ReasonTotal] != 1 {
		t.Errorf("refused %v", refused)
	}
	keys := &counts{most: 9}
	for _, c := range []*Conn{b, other, c, d} {
		Known(request(t, c), keys)
	}
	if enter("192.0.2.9:2", "192.0.2.9:2") != nil || refused[ReasonTotal] != 2 {
		t.Errorf("refused %v", refused)
	}
	a.Close()
	a.Close()
	if owner.used != 0 {
		t.Errorf("%d of the key", owner.used)
	}
	six.Close() // which was pushed out
	other.Close()
	if all, strangers := tab.Open(); all != 3 || strangers != 0 {
		t.Errorf("%d open, %d strangers", all, strangers)
	}
	if !Known(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), owner) {
		t.Error("a request of no table must leave")
	}
}

// TestServer runs a table before a server: of what is too many the oldest is
// closed, and a connection that was hung up ends with its reply.
func TestServer(t *testing.T) {
	tab := NewTable(Config{Most: 10, Strangers: 1}, func(Reason) {})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bye" {
			HangUp(r)
		}
	}))
	s.Listener = tab.Listener(s.Listener)
	s.Config.ConnContext = Context
	s.Start()
	defer s.Close()

	dial := func() net.Conn {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	first := dial()
	for all, _ := tab.Open(); all == 0; all, _ = tab.Open() {
		time.Sleep(time.Millisecond)
	}
	second := dial()
	if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the first reads %d, %v", n, err)
	}
	if _, err := io.WriteString(second, "GET /bye HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(second); err != nil || len(b) == 0 {
		t.Errorf("%q, %v", b, err)
	}
	for all, _ := tab.Open(); all != 0; all, _ = tab.Open() {
		time.Sleep(time.Millisecond)
	}
}

// TestWhatNobodyPaysForIsPaced: an address that has had many answers waits for
// more, also on new connections, and an owner by its own measure.
func TestWhatNobodyPaysForIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := NewTable(Config{Most: 10, Strangers: 10}, func(Reason) {})
		enter := func(addr string) *Conn { c, _ := tab.enter(from{addr: addr}); return c }
		c := enter("192.0.2.1:1")
		for range strangerRate {
			Pace(request(t, c), time.Millisecond) // the burst
		}
		if !Pace(request(t, c), time.Millisecond) {
			t.Error("one more does not wait")
		}
		if Pace(request(t, enter("192.0.2.2:1")), time.Millisecond) {
			t.Error("another address waits")
		}
		_ = c.Close()
		if c = enter("192.0.2.1:2"); !Pace(request(t, c), time.Millisecond) {
			t.Error("a new connection is a way around it")
		}
		owner := &counts{most: 1, unpaid: rate.NewLimiter(1, 1)}
		Known(request(t, c), owner)
		if Pace(request(t, c), time.Millisecond) {
			t.Error("the owner pays for its address")
		}
		if !Pace(request(t, c), time.Millisecond) {
			t.Error("the owner does not wait")
		}
	})
}

// TestAddressesAtRestAreForgotten once they have made good what they had.
func TestAddressesAtRestAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := NewTable(Config{Most: 10, Strangers: 10}, func(Reason) {})
		for range 3 {
			c, _ := tab.enter(from{addr: "192.0.2.1:1"})
			_ = c.Close()
			time.Sleep(restTime * 2 / 3)
		}
		if len(tab.strangers) != 1 {
			t.Errorf("%d addresses, want the one that has just left", len(tab.strangers))
		}
		time.Sleep(restTime)
		tab.enter(from{addr: "192.0.2.2:1"})
		if len(tab.strangers) != 1 || tab.resting.Len() != 0 {
			t.Errorf("%d addresses, %d at rest", len(tab.strangers), tab.resting.Len())
		}
	})
}
