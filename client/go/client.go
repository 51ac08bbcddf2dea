package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Handler is told what happens to a Client, from one goroutine; nil functions
// are skipped. A function that blocks holds up what comes after it, the end of
// Run included. One that panics ends Run with the panic: the notification that
// it was given counts as not dealt with, so it is not acknowledged, and a
// later Run is given it again if the server keeps it.
type Handler struct {
	Up     func(Hello)        // connected, and registered
	Notify func(Notification) // each notification once, also over reconnects
	// Resumed comes before the notifications that were missed, after Up. When
	// it does not say Recovered, some are gone: time to ask the backend.
	Resumed func(Resumed)
	// CaughtUp comes once all that was missed has been given to Notify.
	CaughtUp func()

	Subscribed func(Subscribed)         // the client has become a member of a topic (again)
	Ended      func(topic, code string) // it is none any more: refused with code, or "unsubscribed" by a backend
	Friends    func(online Friends)     // each change; what it is given does not change any more

	// Other is told of every other kind of message, and of those about topics and
	// friends whose fields have other types than this package knows.
	Other func(Message)
	Down  func(err error, retryAfter time.Duration) // a connection or a dial failed
}

// Client keeps a user connected, catches up after each loss on what the server
// has stored meanwhile, and acknowledges what asks for it once Notify has
// returned.
type Client struct {
	opts    Options
	handler Handler

	running atomic.Bool
	seen    seen    // owned by Run
	friends Friends // owned by Run

	topics topics
	outbox outbox

	mu    sync.Mutex
	after string // guarded by mu
}

var (
	// ErrTokenRefused ends Run: the server has refused TokenTries fresh tokens
	// in a row. The last *RefusedError is wrapped beside it.
	ErrTokenRefused = errors.New("the server refuses this user's tokens")
	// ErrRunning is what Run returns while another Run of the same Client goes
	// on.
	ErrRunning = errors.New("the client runs already")
)

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
// ctx's error), the server refuses for good (see Permanent) or takes none of
// several tokens (ErrTokenRefused). When ctx ends it acknowledges what Notify
// has returned from and closes with code 1000, for at most CloseTimeout. It may
// be called again after it has returned, and goes on where it was.
func (c *Client) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return ErrRunning
	}
	defer c.running.Store(false)
	k := keeper{client: c, opts: c.opts, backoff: Backoff{Longest: c.opts.LongestWait}}
	for {
		hint, err := k.connection(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err = k.judge(err); Permanent(err) {
			return err
		}
		if refused := k.follow(hint); refused != nil {
			err = fmt.Errorf("%w; %w", err, refused)
		}
		pause := k.pause(err, hint)
		if c.handler.Down != nil {
			c.handler.Down(err, pause)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// keeper is one Run.
type keeper struct {
	client  *Client
	opts    Options // of the next dial
	backoff Backoff
	refused int // tokens in a row
}

// connection is one connection's life; it returns why it ended and the
// server's last wish.
func (k *keeper) connection(ctx context.Context) (hint *Reconnect, err error) {
	conn, err := Dial(ctx, k.opts)
	if err != nil {
		return nil, k.elsewhere(err)
	}
	k.refused = 0
	up := time.Now()
	in := readAhead(ctx, conn, &k.opts)
	s := newSession(k.client, conn)
	defer func() {
		leave(in, s, k.opts.closeTimeout(), err)
		if time.Since(up) > steady {
			k.backoff.Reset()
		}
	}()
	if up := k.client.handler.Up; up != nil {
		up(conn.Hello())
	}
	s.begin()
	k.client.outbox.set(conn)
	for {
		m, err := in.next(ctx)
		if err != nil {
			return hint, err
		}
		if m.Reconnect != nil {
			hint = m.Reconnect
		}
		if err := s.take(m); err != nil {
			return hint, err
		}
		in.done(m)
	}
}

// leave ends a connection: it acknowledges what is due, says good-bye and
// waits for the server's answer, all within limit. Without the wait, what the
// server has on its way would make the kernel throw away the last words.
func leave(in *stream, s *session, limit time.Duration, why error) {
	in.discard()
	in.conn.finishBy(time.Now().Add(limit))
	s.end()
	code := ws.StatusNormalClosure
	if errors.Is(why, ErrProtocol) {
		code = ws.StatusProtocolError
	}
	in.conn.sayClose(code)
	<-in.ended
	_ = in.conn.Abort() // a close that fails leaves nothing to do
}

// judge counts refused tokens, and says so once they are too many.
func (k *keeper) judge(err error) error {
	r, ok := errors.AsType[*RefusedError](err)
	if !errors.Is(err, ErrTokenFormat) && (!ok || r.Status != http.StatusUnauthorized) {
		return err
	}
	if k.refused++; k.refused < positive(k.opts.TokenTries, defaultTokenTries) {
		return err
	}
	return fmt.Errorf("%w, %d in a row: %w", ErrTokenRefused, k.refused, err)
}

// elsewhere is err, of a dial: where the server had sent the client, it says nothing of
// what comes of the next one, at home.
func (k *keeper) elsewhere(err error) error {
	if k.opts.URL == k.client.opts.URL {
		return err
	}
	return errors.New("where the server has sent the client: " + err.Error())
}

// follow sets where the next dial goes: to where the server wished, for that
// one dial, or home. ErrTarget: the wish is not one to follow.
func (k *keeper) follow(hint *Reconnect) error {
	home := k.client.opts.URL
	k.opts.URL = home
	if hint == nil || hint.To == "" {
		return nil
	}
	url, err := target(home, hint.To, k.opts.Hosts)
	if err != nil {
		return err
	}
	k.opts.URL = url
	return nil
}

func (k *keeper) pause(err error, hint *Reconnect) time.Duration {
	if k.opts.Pause != nil {
		return k.opts.Pause(err, hint)
	}
	return k.backoff.Next(err, hint)
}
