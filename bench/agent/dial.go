package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/homing/homing/bench/child"
)

// ErrRefused marks what an agent answers when it starts no helper.
var ErrRefused = errors.New("refused by the agent")

// Dial starts a helper by way of the agent at addr, host:port. It blocks
// until the agent has one, or ctx ends, or ten seconds have passed. The
// helper's PID is 0; when the connection breaks, calls fail with an error that
// names the agent.
func Dial(ctx context.Context, addr string, secret []byte, role string) (*child.Process, error) {
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", addr, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	r, err := start(ctx, conn.(*net.TCPConn), secret, role)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("agent %s: %w", addr, err)
	}
	r.addr = addr
	return child.Over(r), nil
}

// DialAll starts n helpers, spread evenly over the agents at addrs, of which
// there is at least one. On an error none is left running.
func DialAll(ctx context.Context, addrs []string, secret []byte, role string, n int) ([]*child.Process, error) {
	procs := make([]*child.Process, 0, n)
	for i := range n {
		p, err := Dial(ctx, addrs[i%len(addrs)], secret, role)
		if err != nil {
			for _, p := range procs {
				err = errors.Join(err, p.Stop())
			}
			return nil, err
		}
		procs = append(procs, p)
	}
	return procs, nil
}

// start proves both ends to each other and orders a helper.
func start(ctx context.Context, conn *net.TCPConn, secret []byte, role string) (*remote, error) {
	if err := watchPeer(conn); err != nil {
		return nil, err
	}
	c := tls.Client(conn, clientTLS())
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	mine, err := proof(c, secret, coordinator)
	if err != nil {
		return nil, err
	}
	if err := writeLine(c, order{Proof: mine, Role: role}); err != nil {
		return nil, fmt.Errorf("order a helper: %w", err)
	}
	r := newReader(c)
	var got receipt
	if err := readLine(r, &got); err != nil {
		return nil, fmt.Errorf("order a helper: %w", err)
	}
	if got.Error != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, got.Error)
	}
	if err := prove(c, secret, agent, got.Proof); err != nil {
		return nil, err
	}
	return &remote{Conn: c, r: r}, nil
}

// remote is a link to a helper behind an agent.
type remote struct {
	*tls.Conn
	r    *bufio.Reader // over Conn
	addr string
}

// Read implements child.Link.
func (r *remote) Read(p []byte) (int, error) { return r.r.Read(p) }

// Kill implements child.Link.
func (r *remote) Kill() { r.NetConn().Close() }

// Wait implements child.Link: an agent ends the connection when the helper
// has ended.
func (r *remote) Wait() error {
	defer r.NetConn().Close()
	_, err := io.Copy(io.Discard, r.r)
	return err
}

// PID implements child.Link.
func (r *remote) PID() int { return 0 }

// String implements child.Link.
func (r *remote) String() string { return "helper at agent " + r.addr }
