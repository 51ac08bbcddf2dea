package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// attempt is a client that wants to connect; its handler waits for done.
type attempt struct {
	at     time.Time
	stream bool
	w      http.ResponseWriter
	r      *http.Request
	done   chan struct{}
}

// attempts hands what comes to a listener to whoever plays a situation.
type attempts struct {
	http    *http.Server
	addr    string
	queue   chan *attempt
	gone    chan struct{} // closed when nobody plays any more
	streams bool          // event streams are part of the situation

	mu     sync.Mutex
	refuse *Refuse // what the last WebSocket was told; nil: it was served
	drop   bool    // it was cut off
}

// maxAttempts is how many may wait; a client with more is broken, and is cut off.
const maxAttempts = 64

func listen(ctx context.Context, streams bool) (*attempts, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &attempts{addr: l.Addr().String(), queue: make(chan *attempt, maxAttempts), gone: make(chan struct{}), streams: streams}
	a.http = &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = a.http.Serve(l) }() // until close
	return a, nil
}

// addresses are what steps may call the server by: its address, its host and port, and
// another name of its host with the port, which a client must take for another host.
func (a *attempts) addresses() values {
	_, port, _ := net.SplitHostPort(a.addr) // it has one
	return values{
		"$url": "ws://" + a.addr + "/ws", "$other": "ws://" + a.addr + "/other/ws", "$host": a.addr, "$elsewhere": "localhost:" + port,
	}
}

func (a *attempts) close() {
	close(a.gone)
	_ = a.http.Close() // nobody is served any more
}

// ServeHTTP implements http.Handler.
func (a *attempts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	stream := strings.HasSuffix(r.URL.Path, "/events")
	switch {
	case r.URL.Path == "/healthz": // a page of the same origin, for browsers
		_, _ = w.Write([]byte("ok\n"))
		return
	case r.URL.Path == "/favicon.ico": // which they ask for
		http.NotFound(w, r)
		return
	case stream && !a.streams:
		a.again(w)
		return
	}
	x := &attempt{at: time.Now(), stream: stream, w: w, r: r, done: make(chan struct{})}
	select {
	case a.queue <- x:
		select {
		case <-x.done:
		case <-a.gone:
		}
	default:
		cutOff(w)
	}
}

// again answers as the last WebSocket was answered.
func (a *attempts) again(w http.ResponseWriter) {
	a.mu.Lock()
	refuse, drop := a.refuse, a.drop
	a.mu.Unlock()
	switch {
	case drop:
		cutOff(w)
	case refuse != nil:
		refuse.answer(w)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// told notes what a WebSocket was told.
func (a *attempts) told(refuse *Refuse, drop bool) {
	a.mu.Lock()
	a.refuse, a.drop = refuse, drop
	a.mu.Unlock()
}

// next waits for an attempt.
func (a *attempts) next(ctx context.Context, within time.Duration) (*attempt, error) {
	select {
	case x := <-a.queue:
		return x, nil
	case <-time.After(within):
		return nil, fmt.Errorf("the client has not tried to connect within %v", within)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// token is what the client shows.
func (x *attempt) token() string {
	for p := range strings.SplitSeq(x.r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		if token, ok := strings.CutPrefix(strings.TrimSpace(p), "bearer."); ok {
			return token
		}
	}
	if token, ok := strings.CutPrefix(x.r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	return x.r.URL.Query().Get("token")
}

// place is where an event stream goes on.
func (x *attempt) place() *string {
	if ids := x.r.Header.Values("Last-Event-ID"); len(ids) > 0 {
		return &ids[0]
	}
	if ids, ok := x.r.URL.Query()["lastEventId"]; ok {
		return &ids[0]
	}
	return nil
}

// check reports what is wrong with how the client asks. host is where it must.
func (x *attempt) check(token, host string, stream bool) error {
	if host != "" && x.r.Host != host {
		return fmt.Errorf("the client asks %s, want %s", x.r.Host, host)
	}
	if x.stream != stream {
		return fmt.Errorf("the client asks for %s", x.r.URL.Path)
	}
	if got := x.token(); token != "" && got != token {
		return fmt.Errorf("the client shows the token %q, want %q", got, token)
	}
	return nil
}

// checkAccept is check, and what else an accepted attempt must show. host is the one that
// want names.
func (x *attempt) checkAccept(want *Accept, host string) error {
	if err := x.check(want.Token, host, want.Stream); err != nil {
		return err
	}
	if want.Path != "" && x.r.URL.Path != want.Path {
		return fmt.Errorf("the client asks for %s, want %s", x.r.URL.Path, want.Path)
	}
	if got := x.r.URL.Query().Get("room"); want.Room != nil && got != *want.Room {
		return fmt.Errorf("the client brings the ticket %q, want %q", got, *want.Room)
	}
	if want.LastEventID == nil {
		return nil
	}
	if got := x.place(); got == nil || *got != *want.LastEventID {
		return fmt.Errorf("the client asks for the events after another one than %q", *want.LastEventID)
	}
	return nil
}

// answer is the refusal over HTTP.
func (r *Refuse) answer(w http.ResponseWriter) {
	now := time.Now().Add(-time.Hour)
	for k, v := range r.Header {
		if s, ok := strings.CutPrefix(v, "$date+"); ok {
			d, _ := time.ParseDuration(s + "s") // a step that is wrong has none
			v = now.Add(d).UTC().Format(http.TimeFormat)
		}
		w.Header().Set(k, v)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	w.WriteHeader(r.Status)
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":"refused","status":%d,"code":%q}`, r.Status, r.Code)
}

// cutOff ends a connection without an answer.
func cutOff(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// accept switches to WebSocket.
func (x *attempt) accept() (*link, error) {
	offered := x.r.Header.Get("Sec-WebSocket-Protocol")
	u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "homing.v1" }}
	conn, rw, hs, err := u.Upgrade(x.r, x.w)
	close(x.done)
	if err != nil {
		return nil, fmt.Errorf("upgrade to WebSocket: %w", err)
	}
	if offered != "" && hs.Protocol != "homing.v1" {
		_ = conn.Close()
		return nil, errors.New("the client does not offer homing.v1")
	}
	return newLink(conn, rw.Reader), nil
}
