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
	enter := func(addr string) *Conn { return tab.enter(from{addr: addr}) }
	a, b := enter("192.0.2.1:1"), enter("[::ffff:192.0.2.1]:2")
	if a == nil || b == nil {
		t.Fatal("refused")
	}
	if enter("192.0.2.1:3") != nil || refused[ReasonAddress] != 1 {
		t.Error("took a third stranger of one address")
	}
	// One /64 is one caller.
	six, other := enter("[2001:db8::1]:1"), enter("[2001:db8::2]:1")
	if six == nil || other == nil || enter("[2001:db8::3]:1") != nil {
		t.Error("wants two of one /64")
	}
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
	if enter("192.0.2.1:4") == nil || enter("192.0.2.9:1") != nil || refused[ReasonTotal] != 1 {
		t.Errorf("refused %v", refused)
	}
	a.Close()
	a.Close()
	if owner.used != 0 {
		t.Errorf("%d of the key", owner.used)
	}
	if all, _ := tab.Open(); all != 4 {
		t.Errorf("%d open", all)
	}
	six.Close()
	other.Close()
	if _, strangers := tab.Open(); strangers != 1 {
		t.Errorf("%d strangers", strangers)
	}
	if !Known(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), owner) {
		t.Error("a request of no table must leave")
	}
}

// TestServer runs a table before a server: what is one too many is closed, what
// ends makes room, and a connection that was hung up ends with its reply.
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
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the second reads %d, %v", n, err)
	}
	if _, err := io.WriteString(first, "GET /bye HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(first); err != nil || len(b) == 0 {
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
		c := tab.enter(from{addr: "192.0.2.1:1"})
		for range strangerRate {
			Pace(request(t, c), time.Millisecond) // the burst
		}
		if !Pace(request(t, c), time.Millisecond) {
			t.Error("one more does not wait")
		}
		if Pace(request(t, tab.enter(from{addr: "192.0.2.2:1"})), time.Millisecond) {
			t.Error("another address waits")
		}
		_ = c.Close()
		if c = tab.enter(from{addr: "192.0.2.1:2"}); !Pace(request(t, c), time.Millisecond) {
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
			_ = tab.enter(from{addr: "192.0.2.1:1"}).Close()
			time.Sleep(restTime * 2 / 3)
		}
		if len(tab.strangers) != 1 {
			t.Errorf("%d addresses, want the one that has just left", len(tab.strangers))
		}
		time.Sleep(restTime)
		_ = tab.enter(from{addr: "192.0.2.2:1"})
		if len(tab.strangers) != 1 || len(tab.resting) != 0 {
			t.Errorf("%d addresses, %d at rest", len(tab.strangers), len(tab.resting))
		}
	})
}
