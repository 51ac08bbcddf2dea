package webhook

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/homing/homing/hub/hook"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"8.8.8.8": true, "93.184.215.14": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "198.18.0.1": false, "224.0.0.1": false,
		"255.255.255.255": false, "240.0.0.1": false, "192.0.0.8": false,
		"::1": false, "::": false, "::ffff:10.1.2.3": false, "::ffff:127.0.0.1": false, "::7f00:1": false, "fe80::1%eth0": false,
		"fd00::1": false, "fec0::1": false, "ff02::1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "2001::1": false,
		"2001:db8::1": false, "::ffff:0:10.1.2.3": false, "3fff::1": false, "5f00::1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestPrivateAddresses: what is forbidden is the address that is connected to, under
// whatever name; nobody is asked through a proxy.
func TestPrivateAddresses(t *testing.T) {
	asked := 0
	open := endpoint(t, Config{}, func(http.ResponseWriter, *http.Request) { asked++ })
	port := open.cfg.URL[strings.LastIndex(open.cfg.URL, ":"):]
	t.Setenv("HTTP_PROXY", "http://127.0.0.1"+strings.TrimSuffix(port, "/in?game=1"))
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"} {
		e := endpoint(t, Config{URL: "http://" + host + port, ForbidPrivate: true}, nil)
		a := e.Post(t.Context(), "evt_1", []byte(`{}`))
		if a.Verdict != hook.Failed || a.Why != hook.Private || !strings.Contains(a.Err.Error(), "--hook-forbid-private") {
			t.Errorf("%s: %+v", host, a)
		}
	}
	if newTransport(&Config{ForbidPrivate: true}).Proxy != nil || newTransport(&Config{}).Proxy == nil {
		t.Error("a proxy is used where whom it connects to is not seen, or none elsewhere")
	}
	if asked != 0 {
		t.Errorf("%d requests came", asked)
	}
	if a := open.Post(t.Context(), "evt_1", []byte(`{}`)); a.Verdict != hook.Delivered || asked != 1 {
		t.Errorf("not forbidden: %+v, %d requests", a, asked)
	}
}
