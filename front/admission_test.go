package front

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAnonymousRequestsDoNotKeepPlayersOut(t *testing.T) {
	r := start(t, func(c *Config) { c.AdmitRate = 5 })
	for i := range 50 {
		target := "/ws"
		if i%2 == 1 {
			target += "?token=bad"
		}
		if res, body := r.raw("GET " + target + " HTTP/1.1\r\n" + upgradeHead + "\r\n"); res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
	}
	for i := range 5 {
		r.join(fmt.Sprint("user", i))
	}
}

// TestUnknownKeysDoNotKeepPlayersOut fills the queue of tokens whose key has to
// be fetched.
func TestUnknownKeysDoNotKeepPlayersOut(t *testing.T) {
	r := start(t, func(c *Config) { c.AdmitRate, c.AuthWorkers, c.AuthQueue = 3, 1, 4 })
	for range 20 {
		_, _ = io.WriteString(r.dialFrom("127.0.0.1"), joining("slow"))
	}
	wait(t, "the queue to overflow", func() bool { return r.metric("homing_front_handshakes_total", "result", "busy") > 0 })
	for i := range 3 {
		r.join(fmt.Sprint("user", i))
	}
	close(r.auth.hold)
	wait(t, "those of the queue to count when their key is there", func() bool {
		return r.metric("homing_front_handshakes_total", "result", "crowded")+r.metric("homing_front_handshakes_total", "result", "ok") == 3+5
	})
}

// TestLittleWaitsWithAToken: what a client sends behind its request is kept until
// its token has been checked, so it is bounded.
func TestLittleWaitsWithAToken(t *testing.T) {
	r := start(t, nil)
	defer close(r.auth.hold)
	much := strings.Repeat("\x00", r.cfg.HandshakeLimit+1)
	status, _ := r.statusOn(r.dialFrom("127.0.0.1"), joining("slow")+much)
	if status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", status)
	}
}
