package front

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/homing/homing/front/ws"
)

func retryAfter(t *testing.T, err error) int {
	t.Helper()
	refused, ok := errors.AsType[*ws.RequestError](err)
	if !ok || refused.Code != "crowded" {
		t.Fatalf("%v, want a refusal", err)
	}
	after, err := strconv.Atoi(strings.TrimPrefix(refused.Header, "Retry-After: "))
	if err != nil || after < 1 || after > maxRetry {
		t.Fatalf("back after %q, want 1 to %v", refused.Header, maxRetry)
	}
	return after
}

func TestTheTimeToComeBackIsBoundedAndSpread(t *testing.T) {
	p := newPace(10)
	for range 10 {
		if err := p.admit(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int]int{}
	for range 10_000 {
		seen[retryAfter(t, p.admit())]++
	}
	for after := 1; after <= maxRetry; after++ {
		if seen[after] == 0 {
			t.Errorf("nobody comes back after %d s", after)
		}
	}
	if n := seen[maxRetry]; n > 1000 {
		t.Errorf("%d of 10,000 come back in the same second", n)
	}
	for range maxRetry * 10 { // ticks
		p.refill()
	}
	if err := p.admit(); err != nil || p.owed != 0 {
		t.Errorf("%v after the longest time, %v are owed", err, p.owed)
	}
}

// TestThoseWithoutATokenOweNothing: they are refused at no cost to the others,
// and their tokens are only checked so often while nobody can come in.
func TestThoseWithoutATokenOweNothing(t *testing.T) {
	p := newPace(10)
	for range 1000 {
		if err := p.check(); err != nil {
			t.Fatal("a token is not checked though there is room")
		}
	}
	for range 10 {
		if err := p.admit(); err != nil {
			t.Fatal(err)
		}
	}
	checked := 0
	for range 1000 {
		err := p.check()
		if err == nil {
			checked++
			continue
		}
		if after := retryAfter(t, err); after != 1 {
			t.Fatalf("back after %d s", after)
		}
	}
	if checked != 40 || p.owed != 0 {
		t.Errorf("%d tokens checked, %v owed; want 40 and 0", checked, p.owed)
	}
}

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
