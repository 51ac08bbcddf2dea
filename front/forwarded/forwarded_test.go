package forwarded

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(tb testing.TB, list ...string) Trusted {
	tb.Helper()
	trusted, err := ParseTrusted(list)
	if err != nil {
		tb.Fatal(err)
	}
	return trusted
}

func TestTrustedAddresses(t *testing.T) {
	trusted := parse(t, "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1")
	for addr, want := range map[string]bool{
		"10.255.0.1": true, "11.0.0.1": false, "192.0.2.7": true, "192.0.2.8": false, "::ffff:10.0.0.1": true,
		"2001:db8::5": true, "2001:db9::5": false, "::1": true, "fe80::1%eth0": false,
	} {
		if trusted.Contains(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
	if (Trusted{}).Contains(netip.Addr{}) || trusted.Contains(netip.Addr{}) {
		t.Error("no address is trusted")
	}
	for _, bad := range []string{"", "10.0.0.0/33", "proxy.example", "10.0.0.1:80", "fe80::1%eth0", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104"} {
		if _, err := ParseTrusted([]string{"10.0.0.1", bad}); err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestClientOfARequestThatProxiesPassOn(t *testing.T) {
	trusted := parse(t, "10.0.0.0/8", "fd00::/8")
	for _, c := range []struct {
		peer  string
		lists []string
		want  string
	}{
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{""}, "10.0.0.1"},
		{"10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"10.0.0.1", []string{"198.51.100.9, 192.0.2.1"}, "192.0.2.1"}, // the first one is what the client says
		{"10.0.0.1", []string{"192.0.2.1, 10.0.0.9"}, "192.0.2.1"},
		{"10.0.0.1", []string{"192.0.2.1", "10.0.0.9,10.0.0.8"}, "192.0.2.1"},
		{"10.0.0.1", []string{"10.0.0.5, 10.0.0.9"}, "10.0.0.5"}, // a client inside
		{"10.0.0.1", []string{"198.51.100.9, garbage, 10.0.0.9"}, "10.0.0.9"},
		{"10.0.0.1", []string{"unknown"}, "10.0.0.1"},
		{"10.0.0.1", []string{",, 192.0.2.1 ,"}, "192.0.2.1"},
		{"10.0.0.1", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		{"10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"10.0.0.1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"10.0.0.1", []string{"[192.0.2.1]"}, "10.0.0.1"},
		{"fd00::1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"192.0.2.9", []string{"198.51.100.1"}, "192.0.2.9"}, // not believed
	} {
		if got := trusted.Client(netip.MustParseAddr(c.peer), c.lists); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s, %q: %v, want %s", c.peer, c.lists, got, c.want)
		}
	}
}

// header is a header of PROXY protocol version 2.
func header(tb testing.TB, source, dest string) []byte {
	tb.Helper()
	src, dst := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(dest))
	b, err := proxyproto.HeaderProxyFromAddrs(2, src, dst).Format()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func local(tb testing.TB) []byte {
	tb.Helper()
	b, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}).Format()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// read does as a server does: it never reads more than Missing says.
func read(in []byte) (source netip.Addr, n int, err error) {
	for {
		missing, err := Missing(in[:n])
		if err != nil {
			return netip.Addr{}, n, err
		}
		if missing == 0 {
			source, err = Source(in[:n])
			return source, n, err
		}
		if n+missing > len(in) {
			return netip.Addr{}, n, nil
		}
		n += missing
	}
}

func TestHeaderIsReadToItsEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		header []byte
		want   netip.Addr
	}{
		{"IPv4", header(t, "192.0.2.1:4711", "198.51.100.1:443"), netip.MustParseAddr("192.0.2.1")},
		{"IPv6", header(t, "[2001:db8::1]:4711", "[2001:db8::2]:443"), netip.MustParseAddr("2001:db8::1")},
		{"the proxy itself", local(t), netip.Addr{}},
	} {
		source, n, err := read(append(bytes.Clone(c.header), "GET / HTTP/1.1"...))
		if err != nil || source != c.want || n != len(c.header) {
			t.Errorf("%s: %v, %d bytes of %d, %v", c.name, source, n, len(c.header), err)
		}
	}
}

func TestWhatIsNoHeaderIsRefusedAtItsFirstWrongByte(t *testing.T) {
	good := header(t, "192.0.2.1:4711", "198.51.100.1:443")
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, in := range map[string][]byte{
		"a request":       []byte("GET / HTTP/1.1\r\n\r\n"),
		"version 1":       []byte("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"),
		"another version": change(12, 0x11),
		"another command": change(12, 0x22),
		"another family":  change(13, 0x41),
		"too short":       change(15, 4),
		"too long":        change(14, 0xff),
	} {
		if source, n, err := read(in); err == nil || source.IsValid() {
			t.Errorf("%s: %v after %d bytes, %v", name, source, n, err)
		}
	}
	if _, err := Missing([]byte("G")); err == nil {
		t.Error("the first byte of a request is taken for a header's")
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(header(f, "192.0.2.1:4711", "198.51.100.1:443"))
	f.Add(header(f, "[2001:db8::1]:4711", "[2001:db8::2]:443"))
	f.Add(local(f))
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		source, n, err := read(in)
		if n > len(in) || n > MaxHeader || err != nil && source.IsValid() {
			t.Fatalf("%v, %d bytes of %d, %v", source, n, len(in), err)
		}
		if source.Is4In6() || source.Zone() != "" {
			t.Fatalf("source %v", source)
		}
	})
}

func FuzzClient(f *testing.F) {
	f.Add("198.51.100.9, 192.0.2.1", "10.0.0.9")
	f.Add("[2001:db8::1]:4711", "")
	f.Fuzz(func(t *testing.T, first, second string) {
		trusted := parse(t, "10.0.0.0/8")
		peer := netip.MustParseAddr("10.0.0.1")
		lists := []string{first, second}
		client := trusted.Client(peer, lists)
		if !client.IsValid() || client.Is4In6() || client.Zone() != "" {
			t.Fatalf("client %v", client)
		}
		last := append(lists, "192.0.2.1") // which a trusted proxy has added
		if got := trusted.Client(peer, last); got != netip.MustParseAddr("192.0.2.1") {
			t.Fatalf("%q: %v", last, got)
		}
	})
}
