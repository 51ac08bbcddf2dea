package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Handler is told what happens to a Client, from one goroutine; nil functions
// are skipped. A function that blocks holds up what comes after it.
type Handler struct {
	Up     func(Hello)        // connected, and registered
	Notify func(Notification) // each notification once, also over reconnects
	// Resumed comes before the notifications that were missed, after Up. When
	// it does not say Recovered, some are gone: time to ask the backend.
	Resumed func(Resumed)
	Other   func(Message)                             // every other kind of message
	Down    func(err error, retryAfter time.Duration) // a connection or a dial failed
}

// Client keeps a user connected, catches up after each loss on what the server
// has stored meanwhile, and acknowledges what asks for it once Notify has
// returned.
type Client struct {
	opts    Options
	handler Handler

	seen seen // owned by Run

	mu    sync.Mutex
	after string // guarded by mu
}

// New prepares a client; it connects when Run is called.
func New(opts Options, h Handler) *Client { return &Client{opts: opts, handler: h, after: opts.After} }

// Position is where the next connection resumes from. An application that
// keeps it may give it to a later Client as Options.After. It is safe for
// concurrent use.
func (c *Client) Position() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after
}

func (c *Client) setPosition(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after = id
}

// Run connects, and again after every loss, until ctx ends (then it returns
// ctx's error) or the server refuses for good: an HTTP status or close code
// that says trying again cannot help, such as 401, which comes in spite of a
// fresh token, or 4003, by which a backend disconnects a user.
func (c *Client) Run(ctx context.Context) error {
	var wait Backoff
	opts := c.opts
	for {
		hint, err := c.once(ctx, opts, &wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if Permanent(err) {
			return err
		}
		if hint != nil && hint.URL != "" {
			opts.URL = hint.URL
		} else {
			opts.URL = c.opts.URL
		}
		next := wait.Next
		if c.opts.Pause != nil {
			next = c.opts.Pause
		}
		pause := next(err, hint)
		if c.handler.Down != nil {
			c.handler.Down(err, pause)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// once is one connection's life; it returns why it ended and the server's
// last wish.
func (c *Client) once(ctx context.Context, opts Options, wait *Backoff) (*Reconnect, error) {
	conn, err := Dial(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer conn.Abort() //nolint:errcheck // a close that fails leaves nothing to do
	up := time.Now()
	if c.handler.Up != nil {
		c.handler.Up(conn.Hello())
	}
	s := newSession(c, conn)
	defer s.end()
	if err := s.begin(); err != nil {
		return nil, err
	}
	var hint *Reconnect
	for {
		m, err := conn.Receive(ctx)
		if err != nil {
			if time.Since(up) > steady {
				wait.Reset()
			}
			return hint, err
		}
		if m.Reconnect != nil {
			hint = m.Reconnect
		}
		if err := s.take(m); err != nil {
			return hint, err
		}
	}
}

// Permanent reports whether an error of Dial or Receive will not pass with
// time: the server refused this client, somebody ended the connection on
// purpose, or one side does not speak the protocol.
func Permanent(err error) bool {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.Status >= 400 && r.Status < 500 &&
			r.Status != http.StatusRequestTimeout && r.Status != http.StatusTooManyRequests
	}
	switch CloseCode(err) {
	case 1000, 4003: // on purpose
		return true
	case 1002, 1003, 1007, 1008, 1009, 1010: // the protocol, or policy
		return true
	}
	return errors.Is(err, ErrProtocol)
}

// Backoff decides how long to wait before the next dial. The zero value is
// ready for use.
type Backoff struct {
	failures int // in a row
}

const (
	firstPause = 250 * time.Millisecond
	longestPow = 7 // 250 ms << 7 = 32 s
	restart    = time.Second
	overloaded = 5 * time.Second
	steady     = 10 * time.Second // a connection that lasted this long was no failure
)

// Next returns the pause after err, all of it jittered so that clients which
// lost the same server do not return together: what is left of hint's when
// there is one; a little more than a refusal asks for; about a second after
// close code 1012; about five after 1013 and HTTP 503; else 250 ms, doubled at
// each failure in a row up to half a minute.
func (b *Backoff) Next(err error, hint *Reconnect) time.Duration {
	b.failures++
	switch code := CloseCode(err); {
	case hint != nil:
		return hint.left() + jitter(hint.After/10)
	case asked(err) > 0:
		return asked(err) + jitter(asked(err)/10+restart)
	case code == 1012:
		return jitter(2 * restart)
	case code == 1013 || unavailable(err):
		return overloaded/2 + jitter(overloaded)
	}
	pause := firstPause << min(b.failures-1, longestPow)
	return pause/2 + jitter(pause)
}

// asked is how long a refusal asks to wait.
func asked(err error) time.Duration {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.After
	}
	return 0
}

// unavailable reports whether the server said that it cannot serve just now.
func unavailable(err error) bool {
	r, ok := errors.AsType[*RefusedError](err)
	return ok && (r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests)
}

// Reset forgets past failures; call it after a connection that lasted.
func (b *Backoff) Reset() { b.failures = 0 }

// jitter draws from 0 up to and without d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// sleep waits for d, or reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// seen remembers the last seenLimit notification ids.
type seen struct {
	ids  map[string]struct{}
	ring []string
	next int
}

const seenLimit = 1024

// add remembers id and reports whether it was known. The empty id never is.
func (s *seen) add(id string) bool {
	if id == "" {
		return false
	}
	if _, ok := s.ids[id]; ok {
		return true
	}
	if s.ids == nil {
		s.ids = make(map[string]struct{}, 16)
	}
	if len(s.ring) < seenLimit {
		s.ring = append(s.ring, id)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % seenLimit
	}
	s.ids[id] = struct{}{}
	return false
}
