package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/gobwas/ws"
)

// bearer begins the subprotocol that carries the token.
const bearer = "bearer."

// ErrAddress marks an Options.URL that names no WebSocket.
var ErrAddress = errors.New("not a ws:// or wss:// address with a host")

// ErrTokenFormat marks a token that no HTTP header can carry: a JSON Web
// Token is letters, digits, '-', '_' and dots.
var ErrTokenFormat = errors.New("the token is not a JSON Web Token")

// Dial connects, and returns once the server has said hello. It blocks for at
// most HandshakeTimeout. Errors: ErrAddress, ErrTokenFormat, what
// Options.Token failed with, *RefusedError for an HTTP answer, *CloseError
// when the server closed instead of saying hello, ErrProtocol, ctx's.
func Dial(ctx context.Context, opts Options) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, positive(opts.HandshakeTimeout, defaultHandshakeTimeout))
	defer cancel()
	u, err := parseAddress(opts.URL)
	if err != nil {
		return nil, err
	}
	protocols, err := subprotocols(ctx, opts.Token)
	if err != nil {
		return nil, err
	}
	c, err := upgrade(ctx, opts, u, protocols)
	if err != nil {
		return nil, err
	}
	if err := c.readHello(ctx, opts.Silence); err != nil {
		_ = c.Abort()
		return nil, fmt.Errorf("wait for hello: %w", err)
	}
	return c, nil
}

// parseAddress never quotes the address in an error: it may carry a secret.
func parseAddress(address string) (*url.URL, error) {
	u, err := url.ParseRequestURI(address)
	if err != nil || u.Hostname() == "" || (u.Scheme != "ws" && u.Scheme != "wss") {
		return nil, ErrAddress
	}
	return u, nil
}

// subprotocols are what the client offers: the protocol and, with a token,
// the one that carries it. There it stays out of the logs of servers and
// proxies, which hold the address.
func subprotocols(ctx context.Context, source func(context.Context) (string, error)) ([]string, error) {
	if source == nil {
		return []string{Protocol}, nil
	}
	token, err := source(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a token: %w", err)
	}
	if token == "" {
		return []string{Protocol}, nil
	}
	if strings.ContainsFunc(token, notInToken) {
		return nil, ErrTokenFormat
	}
	return []string{Protocol, bearer + token}, nil
}

// notInToken reports whether base64url and the dots between do not have r.
func notInToken(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_.", r)
}

func upgrade(ctx context.Context, opts Options, u *url.URL, protocols []string) (*Conn, error) {
	c := &Conn{timeout: positive(opts.WriteTimeout, defaultWriteTimeout)}
	d := ws.Dialer{
		Protocols:      protocols,
		TLSConfig:      opts.TLS,
		NetDial:        c.netDial(opts.NetDial),
		ReadBufferSize: 1024, WriteBufferSize: 1024,
	}
	if opts.Header != nil {
		d.Header = ws.HandshakeHeaderHTTP(opts.Header)
	}
	var refusal *RefusedError
	d.OnStatusError = func(status int, _ []byte, reply io.Reader) { refusal = readRefusal(status, reply) }
	stream, in, hs, err := d.Dial(ctx, u.String())
	switch {
	case refusal != nil:
		return nil, refusal
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", u.Host, err)
	case hs.Protocol != Protocol: // not quoted: it may be the one that carries the token
		_ = stream.Close()
		return nil, fmt.Errorf("%w: the server chose another subprotocol than %s", ErrProtocol, Protocol)
	}
	if in == nil {
		in = bufio.NewReaderSize(stream, 1024)
	}
	c.stream = stream
	c.frames = frames{in: in, limit: positive(opts.MessageLimit, defaultMessageLimit), onControl: c.control}
	return c, nil
}

// netDial dials with dial, or plainly, and keeps the socket that it gets.
func (c *Conn) netDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.socket = &socket{Conn: raw}
		return c.socket, nil
	}
}
