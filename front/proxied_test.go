package front

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeader is what a proxy sends first for a client at source.
func proxyHeaderFor(t testing.TB, source string) []byte {
	t.Helper()
	src := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(source), 4711))
	b, err := proxyproto.HeaderProxyFromAddrs(2, src, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 443}).Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClientsBehindAProxyAreToldApart(t *testing.T) {
	r := start(t, func(c *Config) { c.ProxyProtocol, c.AddressRate, c.AddressBurst = true, 1, 2 })
	for i, c := range []struct {
		source string
		status int
	}{{"192.0.2.1", 101}, {"192.0.2.1", 101}, {"192.0.2.1", 0}, {"192.0.2.2", 101}} {
		conn := r.dialFrom("127.0.0.1")
		_, _ = conn.Write(proxyHeaderFor(t, c.source))
		if status, _ := r.statusOn(conn, joining("ann")); status != c.status {
			t.Errorf("connection %d, of %s: status %d, want %d", i, c.source, status, c.status)
		}
	}
	local, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	if err != nil {
		t.Fatal(err)
	}
	conn := r.dialFrom("127.0.0.1")
	_, _ = conn.Write(local)
	if status, _ := r.statusOn(conn, "GET /readyz HTTP/1.0\r\n\r\n"); status != 200 {
		t.Errorf("a check of the proxy's own: status %d", status)
	}
}

func TestAProxyHeaderMayComeInPieces(t *testing.T) {
	r := start(t, func(c *Config) { c.ProxyProtocol = true })
	conn := r.dialFrom("127.0.0.1")
	all := append(proxyHeaderFor(t, "192.0.2.1"), joining("ann")...)
	for i := range all {
		if _, err := conn.Write(all[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if i < 40 {
			time.Sleep(time.Millisecond) // for a segment of its own; what comes together is as good
		}
	}
	if status, _ := r.answerOn(conn); status != http.StatusSwitchingProtocols {
		t.Errorf("status %d", status)
	}
}

func TestConnectionsWithoutTheirProxyHeaderAreTurnedAway(t *testing.T) {
	r := start(t, func(c *Config) { c.ProxyProtocol, c.HandshakeTimeout = true, 300*time.Millisecond })
	for name, begin := range map[string][]byte{
		"a request":     []byte(joining("ann")),
		"half a header": proxyHeaderFor(t, "192.0.2.1")[:20],
		"nothing":       nil,
	} {
		conn := r.dialFrom("127.0.0.1")
		_, _ = conn.Write(begin)
		got, _ := io.ReadAll(conn) // a reset is as good as an end
		if len(bytes.TrimSpace(got)) > 0 {
			t.Errorf("%s is answered %q", name, got)
		}
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "proxy_header"); n != 1 {
		t.Errorf("%v bad headers counted, want 1", n)
	}
	if n := r.metric("homing_front_handshakes_total", "result", "handshake_timeout"); n != 2 {
		t.Errorf("%v timeouts counted, want 2", n)
	}
}

func TestOnlyATrustedProxyMaySendAHeader(t *testing.T) {
	r := start(t, func(c *Config) { c.ProxyProtocol, c.TrustedProxies = true, []string{"127.0.0.1"} })
	conn := r.dialFrom("127.0.0.2")
	_, _ = conn.Write(proxyHeaderFor(t, "127.0.0.1"))
	if status, _ := r.statusOn(conn, joining("ann")); status != 0 {
		t.Errorf("status %d", status)
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "proxy_not_trusted"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

func TestTLSFollowsTheProxyHeader(t *testing.T) {
	r, _ := startTLS(t, func(c *Config) { c.TLSProxyProtocol, c.AddressRate, c.AddressBurst = true, 1, 1 })
	for i, want := range []int{http.StatusSwitchingProtocols, 0} {
		raw := r.dialFrom("127.0.0.1")
		_, _ = raw.Write(proxyHeaderFor(t, "192.0.2.1"))
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		if status, _ := r.statusOn(conn, joining("ann")); status != want {
			t.Errorf("connection %d: status %d, want %d", i, status, want)
		}
	}
}
