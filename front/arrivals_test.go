package front

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// strangers has no address be trusted, so that those of loopback stand for
// players'.
func strangers(c *Config) { c.TrustedProxies = nil }

// dialFrom opens a connection from one of the addresses of loopback.
func (r *rig) dialFrom(address string) net.Conn {
	r.t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(r.t.Context(), "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// statusOn sends a request on conn and returns the answer's status, or 0 when
// the connection ends without one.
func (r *rig) statusOn(conn net.Conn, request string) (int, http.Header) {
	r.t.Helper()
	_, _ = io.WriteString(conn, request)
	return r.answerOn(conn)
}

func (r *rig) answerOn(conn net.Conn) (int, http.Header) {
	r.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch {
	case err == nil:
		_ = res.Body.Close()
		return res.StatusCode, res.Header
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.t.Fatal("no answer, and the connection does not end")
	}
	return 0, nil
}

func joining(token string, headers ...string) string {
	return "GET /ws?token=" + token + " HTTP/1.1\r\n" + upgradeHead + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

func TestAnAddressThatConnectsTooFastIsTurnedAway(t *testing.T) {
	r := start(t, func(c *Config) { strangers(c); c.AddressRate, c.AddressBurst = 1, 3 })
	for i := range 3 {
		if status, _ := r.statusOn(r.dialFrom("127.0.0.2"), joining("ann")); status != http.StatusSwitchingProtocols {
			t.Fatalf("connection %d: status %d", i, status)
		}
	}
	turned := 0
	for range 3 {
		if status, _ := r.answerOn(r.dialFrom("127.0.0.2")); status == 0 {
			turned++
		}
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "address_rate"); n < 2 || int(n) != turned {
		t.Errorf("%d of 3 were turned away, %v counted; want 2 at least", turned, n)
	}
	if status, _ := r.statusOn(r.dialFrom("127.0.0.3"), joining("bob")); status != http.StatusSwitchingProtocols {
		t.Errorf("another address: status %d", status)
	}
}

func TestTheOldestPendingConnectionOfAnAddressGivesWay(t *testing.T) {
	r := start(t, func(c *Config) { strangers(c); c.AddressPending, c.HandshakeTimeout = 2, time.Minute })
	var idle []net.Conn
	for range 5 {
		idle = append(idle, r.dialFrom("127.0.0.2"))
		wait(t, "the connection to be accepted", func() bool {
			return int(r.metric("homing_front_accepted_connections_total")) == len(idle)
		})
	}
	for i, conn := range idle[:3] {
		if status, _ := r.answerOn(conn); status != 0 {
			t.Errorf("idle connection %d: status %d, want its end", i, status)
		}
	}
	for i, conn := range idle[3:] { // a player who is a little slow
		if status, _ := r.statusOn(conn, joining("ann")); status != http.StatusSwitchingProtocols {
			t.Errorf("one of the youngest, %d: status %d", i, status)
		}
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "address_pending"); n != 3 {
		t.Errorf("%v counted, want 3", n)
	}
}

// TestIdleConnectionsNeverCloseTheListener holds more connections open without
// a request than there are descriptors.
func TestIdleConnectionsNeverCloseTheListener(t *testing.T) {
	const limit = 200
	r := start(t, func(c *Config) {
		strangers(c)
		c.MaxDescriptors, c.AddressRate, c.AddressPending, c.HandshakeTimeout = limit, 0, 0, time.Minute
	})
	for i := range 2 * limit {
		r.dialFrom("127.0.0.2")
		if i%50 == 49 {
			if status, _ := r.statusOn(r.dialFrom("127.0.0.3"), joining(fmt.Sprint("user", i))); status != http.StatusSwitchingProtocols {
				t.Fatalf("after %d idle connections: status %d", i+1, status)
			}
		}
	}
	const room = limit * 95 / 100 * 3 / 4       // but for what the process itself has open
	for i := 2 * limit / 50; i < room-40; i++ { // players; also of the same address
		if status, _ := r.statusOn(r.dialFrom("127.0.0.2"), joining(fmt.Sprint("more", i))); status != http.StatusSwitchingProtocols {
			t.Fatalf("player %d: status %d", i+1, status)
		}
	}
	if n := r.metric("homing_front_unlistens_total"); n != 0 {
		t.Errorf("the listener was closed %v times", n)
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "pending"); n < limit {
		t.Errorf("%v of %d idle connections gave way", n, 2*limit)
	}
	wait(t, "the gauge", func() bool {
		n := r.metric("homing_front_pending_connections")
		return n > 0 && n <= limit/4
	})
}

func TestConnectionsOfAnAddressInServiceAreLimited(t *testing.T) {
	r := start(t, func(c *Config) { strangers(c); c.AddressConnections = 2 })
	first := r.dialFrom("127.0.0.2")
	for _, conn := range []net.Conn{first, r.dialFrom("127.0.0.2")} {
		if status, _ := r.statusOn(conn, joining("ann")); status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", status)
		}
	}
	status, header := r.statusOn(r.dialFrom("127.0.0.2"), joining("bob"))
	if after, err := strconv.Atoi(header.Get("Retry-After")); status != http.StatusTooManyRequests || err != nil || after < 1 || after > 30 {
		t.Errorf("a third: status %d, %v", status, header)
	}
	if status, _ := r.statusOn(r.dialFrom("127.0.0.3"), joining("bob")); status != http.StatusSwitchingProtocols {
		t.Errorf("another address: status %d", status)
	}
	_ = first.Close()
	wait(t, "room for another", func() bool {
		status, _ := r.statusOn(r.dialFrom("127.0.0.2"), joining("bob"))
		return status == http.StatusSwitchingProtocols
	})
	if n := r.metric("homing_front_handshakes_total", "result", "too_many_from_address"); n == 0 {
		t.Error("no refusal is counted")
	}
}

func TestATrustedProxySaysWhoseRequestItIs(t *testing.T) {
	r := start(t, func(c *Config) { c.AddressRate, c.AddressBurst = 1, 2 })
	join := func(headers ...string) (int, http.Header) {
		return r.statusOn(r.dialFrom("127.0.0.1"), joining("ann", headers...))
	}
	for range 2 {
		if status, _ := join("X-Forwarded-For: 198.51.100.1, 192.0.2.1"); status != http.StatusSwitchingProtocols {
			t.Fatalf("status %d", status)
		}
	}
	status, header := join("X-Forwarded-For: 198.51.100.2", "X-Forwarded-For: 192.0.2.1")
	if after, err := strconv.Atoi(header.Get("Retry-After")); status != http.StatusTooManyRequests || err != nil || after < 1 || after > 30 {
		t.Errorf("one too many: status %d, %v", status, header)
	}
	for _, other := range []string{"192.0.2.2", "192.0.2.1, 127.0.0.9, 198.51.100.1"} {
		if status, _ := join("X-Forwarded-For: " + other); status != http.StatusSwitchingProtocols {
			t.Errorf("for %s: status %d", other, status)
		}
	}
	for range 5 {
		if status, _ := join(); status != http.StatusSwitchingProtocols {
			t.Errorf("the proxy itself: status %d", status)
		}
	}
}

func TestNobodyElseSaysWhoseRequestItIs(t *testing.T) {
	r := start(t, func(c *Config) { strangers(c); c.AddressRate, c.AddressBurst = 1, 3 })
	in := 0
	for i := range 6 {
		status, _ := r.statusOn(r.dialFrom("127.0.0.2"), joining("ann", fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i)))
		if status == http.StatusSwitchingProtocols {
			in++
		}
	}
	if in < 3 || in > 4 {
		t.Errorf("%d of 6 came in, want the burst of 3", in)
	}
}

// TestAdoptedConnectionsCountForTheirAddress has a master hand over what waited
// in another worker's queue.
func TestAdoptedConnectionsCountForTheirAddress(t *testing.T) {
	r := start(t, func(c *Config) { strangers(c); c.AddressRate, c.AddressBurst = 1, 1 })
	for i := range 2 {
		fd, peer := socketPair(t)
		r.Adopt(fd, false)
		_ = peer.SetReadDeadline(time.Now().Add(10 * time.Second))
		if status, _ := r.statusOn(peer, joining("ann")); (status == 0) != (i == 1) {
			t.Errorf("connection %d: status %d", i, status)
		}
	}
}

// TestTheLogNamesAnAddressThatIsTurnedAway, but not each time: an operator has
// to learn of a proxy that is not named, and somebody else chooses how often.
func TestTheLogNamesAnAddressThatIsTurnedAway(t *testing.T) {
	var log logText
	r := startLogging(t, slog.New(slog.NewTextHandler(&log, nil)), nil, func(c *Config) { strangers(c); c.AddressRate, c.AddressBurst = 1, 1 })
	for range 100 {
		r.dialFrom("127.0.0.2")
	}
	wait(t, "all to be turned away", func() bool {
		return r.metric("homing_front_turned_away_total", "reason", "address_rate") >= 98
	})
	if n := log.count("turned away"); n != 1 || !log.has("connections are turned away", "address=127.0.0.2") {
		t.Errorf("%d lines say so", n)
	}
}
