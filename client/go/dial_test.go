package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const secret = "SECRET.SECRET.SECRET"

// answer starts a server that answers each connection with what reply says to
// the request's head, and closes it. It returns its host and port.
func answer(t *testing.T, reply func(head string) string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, reply(readHead(c)))
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func readHead(c net.Conn) string {
	var head strings.Builder
	for r := bufio.NewReader(c); ; {
		l, err := r.ReadString('\n')
		head.WriteString(l)
		if err != nil || l == "\r\n" {
			return head.String()
		}
	}
}

func TestTheTokenGoesInTheSubprotocolOnly(t *testing.T) {
	heads := make(chan string, 1)
	host := answer(t, func(head string) string {
		heads <- head
		return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
	})
	_, err := Dial(t.Context(), Options{URL: "ws://" + host + "/ws?room=1", Token: StaticToken(secret)})
	if r, ok := errors.AsType[*RefusedError](err); !ok || r.Status != http.StatusForbidden || !Permanent(err) {
		t.Fatalf("error = %v, want a permanent refusal 403", err)
	}
	head := <-heads
	if !strings.HasPrefix(head, "GET /ws?room=1 HTTP/1.1\r\n") {
		t.Errorf("request line of %q", head)
	}
	if want := "Sec-WebSocket-Protocol: homing.v1, bearer." + secret + "\r\n"; !strings.Contains(head, want) {
		t.Errorf("%q is not in %q", want, head)
	}
}

func TestNoErrorHoldsTheToken(t *testing.T) {
	chosen := answer(t, func(head string) string { // a server that chooses the token as the protocol
		_, key, _ := strings.Cut(head, "Sec-WebSocket-Key: ")
		key, _, _ = strings.Cut(key, "\r\n")
		return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			accept(key) + "\r\nSec-WebSocket-Protocol: bearer." + secret + "\r\n\r\n"
	})
	echo := answer(t, func(head string) string { return head })
	leak := answer(t, func(string) string {
		return "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"" + secret + "\"}"
	})
	for _, url := range []string{
		"front.example.com/ws?token=" + secret, "localhost:8081/ws?token=" + secret, "http://127.0.0.1:1/?token=" + secret,
		"ws://%zz/?token=" + secret, "ws://" + secret + ":x@/", "ws://127.0.0.1:1/?token=" + secret, "ws://127.0.0.1:99999/?token=" + secret,
		"ws://" + chosen, "ws://" + echo, "ws://" + leak,
	} {
		_, err := Dial(t.Context(), Options{URL: url, Token: StaticToken(secret)})
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: error %v", url, err)
		}
	}
}

func TestTokensThatNoHeaderCanCarry(t *testing.T) {
	for _, token := range []string{"a b", "a,b", "a\r\nX-Evil: 1", "a\x00", "ü", `a"`} {
		_, err := Dial(t.Context(), Options{URL: "ws://127.0.0.1:1/ws", Token: StaticToken(token)})
		if !errors.Is(err, ErrTokenFormat) || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, url := range []string{"", "front/ws", "http://front/ws", "ws://", "ws:///ws", "wss://:443/ws"} {
		c := New(Options{URL: url}, Handler{})
		if err := c.Run(bounded(t)); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestFreshTokensAreTriedAfter401(t *testing.T) {
	var dials, tokens atomic.Int32
	host := answer(t, func(head string) string {
		dials.Add(1)
		if want := fmt.Sprint("bearer.token-", dials.Load()); !strings.Contains(head, want) {
			t.Errorf("%q is not in %q", want, head)
		}
		return "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"token_expired\"}"
	})
	c := New(Options{
		URL:        "ws://" + host,
		TokenTries: 3,
		Token:      func(context.Context) (string, error) { return fmt.Sprint("token-", tokens.Add(1)), nil },
	}, Handler{})
	err := c.Run(bounded(t))
	r, ok := errors.AsType[*RefusedError](err)
	if !errors.Is(err, ErrTokenRefused) || !ok || r.Code != "token_expired" || !Permanent(err) {
		t.Errorf("Run = %v, want ErrTokenRefused and the server's code", err)
	}
	if dials.Load() != 3 {
		t.Errorf("%d dials, want 3", dials.Load())
	}
}

func TestATokenSourceThatFailsIsAskedAgain(t *testing.T) {
	asked := 0
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	away := errors.New("the account service is away")
	c := New(Options{
		URL:        "ws://127.0.0.1:1/",
		TokenTries: 1,
		Token:      func(context.Context) (string, error) { asked++; return "", away },
		Pause:      func(error, *Reconnect) time.Duration { return 0 },
	}, Handler{Down: func(err error, _ time.Duration) {
		if !errors.Is(err, away) {
			t.Errorf("down with %v", err)
		}
		if asked == 4 {
			cancel()
		}
	}})
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) || asked != 4 {
		t.Errorf("Run = %v after %d", err, asked)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for _, c := range []struct {
		value, date string
		want        time.Duration
	}{
		{value: "7", want: 7 * time.Second},
		{value: " 7 ", want: 7 * time.Second},
		{value: "0"},
		{value: ""},
		{value: "-1"},
		{value: "soon"},
		{value: "1.5"},
		{value: "+3"},
		{value: "65536", want: 65536 * time.Second},
		{value: "9223372037", want: math.MaxInt64},
		{value: strings.Repeat("9", 40), want: math.MaxInt64},
		{value: date(90 * time.Second), want: 90 * time.Second},
		{value: date(-time.Hour)},
		{value: date(90 * time.Second), date: date(80 * time.Second), want: 10 * time.Second},
		{value: "Wed, 21 Oct 2099 07:28:00 CEST"},
	} {
		h := http.Header{"Retry-After": {c.value}}
		if c.date != "" {
			h.Set("Date", c.date)
		}
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q with Date %q: %v, want %v", c.value, c.date, got, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for reply, want := range map[string]RefusedError{
		"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"crowded\"}": {Status: 503, Code: "crowded", After: 7 * time.Second},
		"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n":                                                                         {Status: 429},
		"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n{\"code\":\"x\"}":                                                {Status: 502},
		"HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/problem+json\r\n\r\n{\"code\":\"No No\"}":                             {Status: 502},
		"HTTP/1.1 502 Bad Gateway\r\nnonsense\r\n\r\n":                                                                               {Status: 502},
		"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n":                                               {Status: 302},
		"HTTP/1.1 503 Service Unavailable\r\nX: " + strings.Repeat("x", 2*maxReply) + "\r\n\r\n":                                     {Status: 503},
	} {
		host := answer(t, func(string) string { return reply })
		_, err := Dial(t.Context(), Options{URL: "ws://" + host})
		if r, ok := errors.AsType[*RefusedError](err); !ok || *r != want {
			t.Errorf("%.60q: %v, want %+v", reply, err, want)
		}
	}
}

func TestTarget(t *testing.T) {
	hosts := []string{"Other.example.com", "third.example.com:8443", "::1"}
	for _, c := range []struct {
		home, to, want string // empty: not followed
		hosts          []string
	}{
		{"wss://game.example.com/ws?a=b", "b.example:9", "wss://b.example:9/ws?a=b", nil},
		{"wss://game.example.com/ws", "b.example", "wss://b.example/ws", nil},
		{"ws://game.example.com:8080/ws", "b.example", "ws://b.example:8080/ws", nil},
		{"wss://game.example.com/ws", "[::1]:7", "wss://[::1]:7/ws", hosts},
		{"wss://game.example.com/ws", "other.example.com:9", "wss://other.example.com:9/ws", hosts},
		{"wss://game.example.com/ws", "third.example.com:8443", "wss://third.example.com:8443/ws", hosts},
		{"wss://game.example.com/ws", "third.example.com", "", hosts},
		{"wss://game.example.com/ws", "other.example.com.evil.example", "", hosts},
		{"wss://game.example.com/ws", "evil.example", "", hosts},
		{"wss://game.example.com/ws", "b.example/steal", "", nil},
		{"wss://game.example.com/ws", "ws://b.example", "", nil},
		{"wss://game.example.com/ws", "ann:x@b.example", "", nil},
		{"wss://game.example.com/ws", "b.example?x", "", nil},
		{"wss://game.example.com/ws", "b.example:port", "", nil},
		{"wss://game.example.com/ws", ":80", "", nil},
	} {
		got, err := target(c.home, c.to, c.hosts)
		if got != c.want || (c.want == "") != errors.Is(err, ErrTarget) {
			t.Errorf("from %s to %s: %q, %v", c.home, c.to, got, err)
		}
	}
}
