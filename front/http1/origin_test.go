package http1

import "testing"

// host is what clients write into Host where a test says nothing else.
const host = "game.example.com"

func TestAcceptedOrigins(t *testing.T) {
	for _, tc := range []struct {
		allowed      []string
		host, origin string
		ok           bool
	}{
		{nil, host, "", true},
		{nil, host, "https://game.example.com", true},
		{nil, host, "http://GAME.example.com", true},
		{nil, host, "wss://game.example.com", true},
		{nil, host, "https://game.example.com:8443", false},
		{nil, host, "https://other.example.com", false},
		{nil, host, "null", false},
		{nil, host, "file://", false},
		{nil, host + ":443", "https://game.example.com", true},
		{nil, host + ":443", "wss://game.example.com", true},
		{nil, host + ":443", "http://game.example.com", false},
		{nil, host + ":80", "http://game.example.com", true},
		{nil, host + ":80", "ws://game.example.com:80", true},
		{nil, host + ":80", "https://game.example.com", false},
		{nil, host + ":8443", "https://game.example.com", false},
		{nil, host + ":8443", "https://game.example.com:8443", true},
		{nil, host + ":44", "https://game.example.com", false},
		{nil, "[::1]:443", "https://[::1]", true},
		{nil, "", "https://", false},

		{[]string{"*"}, host, "null", true},
		{[]string{"https://a.example"}, host, "https://a.example", true},
		{[]string{"https://a.example"}, host, "https://a.example:443", true},
		{[]string{"https://a.example"}, host, "wss://a.example", true},
		{[]string{"https://a.example"}, host, "https://a.example:444", false},
		{[]string{"https://a.example"}, host, "http://a.example", false},
		{[]string{"https://a.example"}, host, "https://game.example.com", false},
		{[]string{"https://A.example:443"}, host, "https://a.example", true},
		{[]string{"wss://a.example"}, host, "https://a.example", true},
		{[]string{"http://a.example:80"}, host, "http://a.example", true},
		{[]string{"http://a.example:443"}, host, "http://a.example", false},
		{[]string{"https://*.a.example"}, host, "https://x.y.a.example", true},
		{[]string{"https://*.a.example:443"}, host, "https://x.a.example", true},
		{[]string{"https://*.a.example"}, host, "https://a.example", false},
		{[]string{"https://a.example"}, host, "null", false},
		{[]string{"https://a.example"}, host, "file://", false},
		{[]string{"https://a.example", "null"}, host, "null", true},
		{[]string{"https://a.example", "null"}, host, "file://", false},
		{[]string{"https://a.example", "file://"}, host, "file://", true},
		{[]string{"file://"}, host, "file://evil", false},
		{[]string{"capacitor://localhost"}, host, "capacitor://localhost", true},
	} {
		o := NewOrigins(tc.allowed)
		if got := o.Allow(tc.origin, tc.host); got != tc.ok {
			t.Errorf("allowed %v, host %q, origin %q: %v", tc.allowed, tc.host, tc.origin, got)
		}
	}
}

func TestOriginsThatAnOperatorMayWrite(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"*": true, "null": true, "file://": true, "https://a.example": true, "https://a.example:8443": true,
		"https://*.a.example": true, "capacitor://localhost": true, "http://[::1]:3000": true, "HTTPS://A.example": true,
		"": false, "a.example": false, "https://": false, "https://a.example/": false, "https://a.example/x": false,
		"https://a b": false, "https://a.*.example": false, "https://*": false, "https://a.example:": false,
		"https://a.example:port": false, "https://user@a.example": false, "https://a.example?x": false, "file:///": false, "https://**.example": false,
	} {
		if ValidOrigin(pattern) != ok {
			t.Errorf("%q: %v", pattern, !ok)
		}
	}
}
