package clients

import (
	"net/netip"
	"testing"
)

func TestSource(t *testing.T) {
	own, err := ParseSources("10.0.0.5, 10.0.0.6")
	if err != nil || len(own) != 2 {
		t.Fatalf("ParseSources = %v, %v", own, err)
	}
	loopback, other := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("10.0.0.1:80")
	for _, c := range []struct {
		own  []netip.Addr
		to   netip.AddrPort
		i    int
		want string
	}{
		{nil, loopback, 0, "127.0.0.2"},
		{nil, loopback, portsPerSource - 1, "127.0.0.2"},
		{nil, loopback, portsPerSource, "127.0.0.3"},
		{own, other, 0, "10.0.0.5"},
		{own, other, 1, "10.0.0.6"},
		{own, other, 2, "10.0.0.5"},
	} {
		if got := source(c.own, c.to, c.i); got.String() != c.want {
			t.Errorf("client %d of %v to %v comes from %v, want %s", c.i, c.own, c.to, got, c.want)
		}
	}
	if got := source(nil, other, 5); got.IsValid() {
		t.Errorf("to another machine from %v, want the kernel's choice", got)
	}
}

func TestParseSourcesRefuses(t *testing.T) {
	if own, err := ParseSources(""); err != nil || own != nil {
		t.Errorf("of nothing: %v, %v", own, err)
	}
	for _, bad := range []string{"eth0", "10.0.0.5,", "::1", "10.0.0.5;10.0.0.6"} {
		if own, err := ParseSources(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, own)
		}
	}
}
