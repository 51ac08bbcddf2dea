package loop

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/arrival"
)

// TestWhoIsPendingIsNotCountedAsRoom has the kernel refuse descriptors while most
// are taken by connections that are pending.
func TestWhoIsPendingIsNotCountedAsRoom(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.HandshakeTimeout = time.Minute })
	served := r.dial()
	r.say(served, "x", 2)
	r.on(func() { r.TakeIn(r.only(), 0) })
	const idle = 79
	for range idle {
		r.dial()
	}
	wait(t, "connections that say nothing", func() bool { return r.metric("homing_front_pending_connections") == idle })
	r.on(func() {
		r.acceptFailed(unix.EMFILE)
		if l := r.listeners.limit; l.high != 57 || l.pending != 19 { // of 95% of 80
			t.Errorf("%d connections in service and %d others may be open, want 57 and 19", l.high, l.pending)
		}
	})
	if n := r.metric("homing_front_turned_away_total"); n != idle-19 {
		t.Errorf("%v turned away, want %d", n, idle-19)
	}
	wait(t, "the listeners to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.say(r.dial(), "y", 2)
	r.say(served, "z", 2)
}

// The log names an address that is turned away, but not each time: an operator
// has to learn of a proxy that is not named, and somebody else chooses how often.
func TestTheLogNamesAnAddressThatIsTurnedAway(t *testing.T) {
	var log bytes.Buffer
	results := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "results"}, []string{"result"})
	a := &arrivals[text]{core: &core[text]{log: slog.New(slog.NewTextHandler(&log, nil)), m: newMetrics(prometheus.NewRegistry(), results)}}
	from := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		a.turnAway(from, arrival.AddressRate)
	}
	a.now += complaints
	a.turnAway(from, arrival.AddressRate)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "192.0.2.1") || !strings.Contains(lines[1], "connections=100") {
		t.Errorf("%d lines: %s", len(lines), log.String())
	}
}

// behindProxy has every connection begin with a PROXY header, and be answered
// with the address it comes from.
func behindProxy(cfg *Config, h *lines) {
	cfg.Arrivals.ProxyProtocol, cfg.Arrivals.TLSProxyProtocol = true, true
	cfg.Arrivals.TrustedProxies = []string{"127.0.0.0/8"}
	h.line = func(c *Conn[text], line string) {
		h.r.Send(c, &Message{Data: []byte(line + " from " + c.Addr().String() + "\n")})
	}
}

// headerOf is what a proxy sends first for a client.
func headerOf(tb testing.TB, version byte, client string) []byte {
	tb.Helper()
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(client), 4711))
	to := net.IPv4(198, 51, 100, 1)
	if from.IP.To4() == nil {
		to = net.ParseIP("2001:db8::ffff")
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, from, &net.TCPAddr{IP: to, Port: 443}).Format()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestAProxyHeaderSaysWhoComes(t *testing.T) {
	local, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, behindProxy)
	for header, from := range map[string]string{
		string(headerOf(t, 2, "2001:db8::1")): "2001:db8::1",
		string(headerOf(t, 2, "192.0.2.2")):   "192.0.2.2",
		string(headerOf(t, 2, "127.0.0.9")):   "127.0.0.9",
		string(local):                         "127.0.0.1",
	} {
		for _, piece := range []int{1, 7, 1000} {
			conn := r.dial()
			for rest := header + "x\ny\n"; len(rest) > 0; {
				n := min(piece, len(rest))
				_, _ = io.WriteString(conn, rest[:n])
				if rest = rest[n:]; piece < 1000 {
					time.Sleep(time.Millisecond) // for a segment of its own
				}
			}
			want := "x from " + from + "\ny from " + from + "\n"
			if got := r.read(conn, len(want)); got != want {
				t.Errorf("read %q, want %q", got, want)
			}
		}
	}
}

func TestWithoutItsProxyHeaderNobodyComesIn(t *testing.T) {
	header := string(headerOf(t, 2, "192.0.2.1"))
	for name, tc := range map[string]struct {
		sends, result string
		trusted       bool
	}{
		"an old one":       {sends: string(headerOf(t, 1, "192.0.2.1")), result: string(proxyHeader), trusted: true},
		"none":             {sends: strings.Repeat("x", 20), result: string(proxyHeader), trusted: true},
		"of an unknown":    {sends: header, result: string(notTrusted)},
		"half of one":      {sends: header[:20], result: "handshake_timeout", trusted: true},
		"nothing":          {result: "handshake_timeout", trusted: true},
		"one too long":     {sends: header[:14] + "\xff\xff", result: string(proxyHeader), trusted: true},
		"one of no family": {sends: header[:13] + "\x77" + header[14:], result: string(proxyHeader), trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(cfg *Config, h *lines) {
				behindProxy(cfg, h)
				cfg.HandshakeTimeout = 300 * time.Millisecond
				if !tc.trusted {
					cfg.Arrivals.TrustedProxies = nil
				}
			})
			conn := r.dial()
			_, _ = io.WriteString(conn, tc.sends)
			r.wantEnd(conn)
			if n := r.metric("homing_front_turned_away_total", tc.result) + r.metric("results", tc.result); n != 1 {
				t.Errorf("%v counted as %s, want 1", n, tc.result)
			}
		})
	}
}

func TestWhoHangsUpInsteadOfAProxyHeader(t *testing.T) {
	r := start(t, behindProxy)
	conn := r.dial()
	_, _ = conn.Write(headerOf(t, 2, "192.0.2.1")[:10])
	_ = conn.Close()
	r.gone(1)
	r.on(func() {
		if len(r.h.hungUp) != 1 {
			t.Errorf("%d hung up, want 1", len(r.h.hungUp))
		}
	})
}

// One address that opens too many connections turns away its own.
func TestAnAddressThatComesTooOften(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.Arrivals.AddressRate, cfg.Arrivals.AddressBurst = 1, 2 })
	r.say(r.dialFrom("127.0.0.2"), "x", 2)
	r.say(r.dialFrom("127.0.0.2"), "x", 2)
	r.wantEnd(r.dialFrom("127.0.0.2"))
	r.say(r.dialFrom("127.0.0.3"), "x", 2)
	wait(t, "the address to be let in again", func() bool {
		conn := r.dialFrom("127.0.0.2")
		_, err := conn.Write([]byte("x\n"))
		n, _ := conn.Read(make([]byte, 2))
		return err == nil && n == 2
	})
	if r.metric("homing_front_turned_away_total", string(arrival.AddressRate)) == 0 {
		t.Error("nobody is counted as turned away")
	}
}

// Among those who are not taken in, the oldest of whoever has most gives way.
func TestWhoIsPendingTooLongGivesWay(t *testing.T) {
	for _, tc := range []struct {
		all, address int
		conns        int // of one address, one too many
		reason       arrival.Reason
	}{{6, 0, 6, arrival.Pending}, {100, 3, 4, arrival.AddressPending}} {
		r := start(t, func(cfg *Config, _ *lines) {
			cfg.Arrivals.Pending, cfg.Arrivals.AddressPending = tc.all, tc.address
		})
		other := r.dialFrom("127.0.0.3")
		r.say(other, "x", 2)
		var all []net.Conn
		for range tc.conns {
			conn := r.dialFrom("127.0.0.2")
			r.say(conn, "x", 2)
			all = append(all, conn)
		}
		r.wantEnd(all[0])
		r.say(other, "x", 2)
		for _, conn := range all[1:] {
			r.say(conn, "x", 2)
		}
		if n := r.metric("homing_front_turned_away_total", string(tc.reason)); n != 1 {
			t.Errorf("%v turned away for %s, want 1", n, tc.reason)
		}
	}
}

// The connections in service of an address are counted until they end.
func TestAnAddressMayBeFull(t *testing.T) {
	r := start(t, func(cfg *Config, h *lines) {
		cfg.Arrivals.AddressConnections = 2
		h.line = func(c *Conn[text], _ string) {
			if h.r.AddressFull(c) {
				h.r.End(c, []byte("full"), false)
				return
			}
			h.r.TakeIn(c, 0)
			h.r.Send(c, &Message{Data: []byte("come")})
		}
	})
	first := r.dial()
	for i, conn := range []net.Conn{first, r.dial(), r.dial(), r.dialFrom("127.0.0.2")} {
		want := "come"
		if i == 2 {
			want = "full"
		}
		if got := r.say(conn, "x", 4); got != want {
			t.Errorf("connection %d: %s, want %s", i, got, want)
		}
	}
	_ = first.Close()
	r.gone(1)
	if got := r.say(r.dial(), "x", 4); got != "come" {
		t.Errorf("after one has left: %s", got)
	}
}

// A proxy that speaks HTTP names its client in a header; nobody else is believed.
func TestATrustedProxyNamesItsClient(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		r := start(t, func(cfg *Config, h *lines) {
			cfg.Arrivals.AddressRate, cfg.Arrivals.AddressBurst = 1, 2
			if trusted {
				cfg.Arrivals.TrustedProxies = []string{"127.0.0.0/8"}
			}
			h.line = func(c *Conn[text], line string) {
				answer := "in"
				if client := h.r.Client(c, []string{line}); client != c.Addr() && !h.r.Identify(c, client) {
					answer = "no"
				}
				h.r.Send(c, &Message{Data: []byte(answer + " " + c.Addr().String() + "\n")})
			}
		})
		for i, want := range []string{"in 192.0.2.7\n", "in 192.0.2.7\n", "no 192.0.2.7\n"} {
			conn := r.dial()
			switch {
			case trusted:
			case i == 2:
				r.wantEnd(conn)
				continue
			default:
				want = "in 127.0.0.1\n"
			}
			if got := r.say(conn, "203.0.113.1, 192.0.2.7", len(want)); got != want {
				t.Errorf("trusted: %t: %q, want %q", trusted, got, want)
			}
		}
	}
}
