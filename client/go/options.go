package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Protocol is the WebSocket subprotocol spoken here.
const Protocol = "homing.v1"

// Options say where to connect and as whom. Where nothing else is said, a
// value that is not above 0 means the default.
type Options struct {
	URL string // ws:// or wss:// address of the front, with its path
	// Token is asked for a fresh player token at each dial, within
	// HandshakeTimeout; nil or an empty token: none is sent. The token goes in
	// the subprotocol header, and never into an error.
	Token func(ctx context.Context) (string, error)
	// TokenTries is how many tokens in a row the server may refuse before
	// Client.Run gives up with ErrTokenRefused; default 5.
	TokenTries int
	// Hosts lists where a server's reconnect may send a Client: "game.example.com"
	// for any port or "game.example.com:8443". None: to any host. It is always by
	// URL's scheme and path, and for one dial: one that fails is followed by URL.
	Hosts []string

	Header http.Header // sent with the handshake, Origin for example; may be nil
	TLS    *tls.Config // for wss; nil means the system's roots
	// NetDial replaces the TCP dial, to bind a source address for example.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)

	HandshakeTimeout time.Duration // from the token to hello; default 10 s
	WriteTimeout     time.Duration // of one frame; default 5 s
	// Silence is how long no byte may come from the server before it counts
	// as gone: 0 means 15 s more than its ping interval, a negative value for
	// ever.
	Silence time.Duration
	// CloseTimeout bounds how long Run goes on at its end to acknowledge what
	// was dealt with and to say good-bye: 0 means 1 s, a negative value not at
	// all.
	CloseTimeout time.Duration
	MessageLimit int // bytes of one message; default 1 MiB

	// QueueMessages and QueueBytes bound what a Client reads ahead of a
	// Handler that is slower than the server; defaults 256 messages, 1 MiB.
	// When either is reached it stops reading: see the package's comment.
	QueueMessages int
	QueueBytes    int

	// After is where a Client resumes from first: the Position of an earlier
	// one, or empty for everything that is stored.
	After string
	// LongestWait bounds what a server may ask a Client to wait; default 2 min.
	LongestWait time.Duration
	// Pause says how long a Client waits before it dials again; nil means as a
	// Backoff says.
	Pause func(err error, hint *Reconnect) time.Duration
}

const (
	defaultTokenTries       = 5
	defaultHandshakeTimeout = 10 * time.Second
	defaultWriteTimeout     = 5 * time.Second
	defaultCloseTimeout     = time.Second
	defaultMessageLimit     = 1 << 20
	defaultQueueMessages    = 256
	defaultQueueBytes       = 1 << 20
	defaultLongestWait      = 2 * time.Minute
)

// StaticToken is a token source that always gives the same token.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// positive returns v, or def when v is not above 0.
func positive[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// closeTimeout returns CloseTimeout with its default, never negative.
func (o *Options) closeTimeout() time.Duration {
	if o.CloseTimeout == 0 {
		return defaultCloseTimeout
	}
	return max(0, o.CloseTimeout)
}
