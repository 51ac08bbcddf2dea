package redisx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is one Pub/Sub connection to one server, confirmed for all its
// channels. It never reconnects. One goroutine reads; any may ping and close.
type link struct {
	addr   string
	client *redis.Client
	pubsub *redis.PubSub
	early  []*redis.Message // what came between the confirmations
	heard  atomic.Int64     // when bytes last came, by sinceStart
	pinged time.Time        // owned by the goroutine that guards
	once   sync.Once
	closed chan struct{}
}

var (
	errSilent  = errors.New("no answer to a ping")
	errRetired = errors.New("retired") // read everything up to the answer to retire
	errUsed    = errors.New("a link connects once")
)

// retireMark is the payload of the ping whose answer ends a retired link.
const retireMark = "retire"

// openLink connects to the server of o and returns when every channel's
// subscription is confirmed, which may take the dial and the read timeout.
func openLink(ctx context.Context, o *redis.Options, channels []string) (*link, error) {
	l := &link{addr: o.Addr, closed: make(chan struct{})}
	l.prepare(o)
	l.client = redis.NewClient(o)
	l.pubsub = l.client.Subscribe(ctx)
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout+o.ReadTimeout)
	defer cancel()
	if err := l.subscribe(ctx, channels, o.ReadTimeout); err != nil {
		l.close()
		return nil, fmt.Errorf("subscribe at %s: %w", l.addr, err)
	}
	return l, nil
}

// prepare makes connections note when bytes come, and fail after the first:
// on its own, go-redis would connect again before it tells us of a failure.
func (l *link) prepare(o *redis.Options) {
	o.PoolSize = fewConns
	dial := o.Dialer
	var used atomic.Bool
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errUsed
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &heardConn{Conn: conn, heard: &l.heard}, nil
	}
}

// started is when this process began, and carries the monotonic clock.
var started = time.Now()

// sinceStart is a moment in a form that fits into an atomic integer and does
// not jump when somebody sets the clock.
func sinceStart() time.Duration { return time.Since(started) }

// lastHeard is when bytes last came.
func (l *link) lastHeard() time.Time { return started.Add(time.Duration(l.heard.Load())) }

// heardConn notes when bytes come.
type heardConn struct {
	net.Conn
	heard *atomic.Int64
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(int64(sinceStart()))
	}
	return n, err
}

func (l *link) subscribe(ctx context.Context, channels []string, timeout time.Duration) error {
	if err := l.pubsub.Subscribe(ctx, channels...); err != nil {
		return err
	}
	for confirmed := 0; confirmed < len(channels); {
		reply, err := l.pubsub.ReceiveTimeout(ctx, timeout)
		if err != nil {
			return err
		}
		switch r := reply.(type) {
		case *redis.Subscription:
			confirmed++
		case *redis.Message:
			l.early = append(l.early, r)
		}
	}
	return nil
}

// read hands every message to handle, in order, and blocks until the link
// fails or is closed, which it returns as an error, or until it has read the
// answer to retire: errRetired. The end of ctx alone does not end it.
func (l *link) read(ctx context.Context, handle func(*redis.Message)) error {
	for _, m := range l.early {
		handle(m)
	}
	l.early = nil
	for {
		// Without a deadline: one that ends inside a message would tear it.
		// guard closes the link when it has been silent for too long.
		reply, err := l.pubsub.Receive(ctx)
		if err != nil {
			return err
		}
		switch r := reply.(type) {
		case *redis.Message:
			handle(r)
		case *redis.Pong:
			if r.Payload == retireMark {
				return errRetired
			}
		}
	}
}

// silence is how long the server has sent nothing.
func (l *link) silence() time.Duration {
	return time.Since(l.lastHeard())
}

// guard pings the server when it has been silent for quiet, closes the link
// when a ping stays unanswered for patience or when ctx ends, and returns once
// the link is closed, whoever did it: errSilent, the context's error, or nil.
func (l *link) guard(ctx context.Context, quiet, patience time.Duration) error {
	turn := time.NewTimer(quiet)
	defer turn.Stop()
	for {
		select {
		case <-l.closed:
			return nil
		case <-ctx.Done():
			l.close()
			return ctx.Err()
		case <-turn.C:
			if err := l.check(ctx, quiet, patience); err != nil {
				l.close()
				return err
			}
			turn.Reset(l.calm(quiet, patience))
		}
	}
}

// calm is how long nothing needs a look, unless the server speaks: then longer.
// A process has a link to every shard, so that idle turns add up.
func (l *link) calm(quiet, patience time.Duration) time.Duration {
	const least = time.Millisecond
	heard := l.lastHeard()
	if l.pinged.After(heard) { // it may be answered at any time, and the silence after that begins anew
		return max(least, min(quiet, time.Until(l.pinged.Add(patience))))
	}
	return max(least, time.Until(heard.Add(quiet)))
}

// check is one turn of guard. It counts from the ping, not from the last byte:
// a process that was itself held up must not blame the server.
func (l *link) check(ctx context.Context, quiet, patience time.Duration) error {
	heard := l.lastHeard()
	if l.pinged.After(heard) {
		if time.Since(l.pinged) >= patience {
			return errSilent
		}
		return nil
	}
	if time.Since(heard) < quiet {
		return nil
	}
	l.pinged = time.Now()
	return l.pubsub.Ping(ctx) // may block for the write timeout
}

// retire asks for the mark that ends read: everything that the server sent
// before it will have been handled.
func (l *link) retire(ctx context.Context) error { return l.pubsub.Ping(ctx, retireMark) }

// close ends the connection and makes read return. It may be called twice.
func (l *link) close() {
	l.once.Do(func() {
		_ = l.pubsub.Close() // errors only say that the connection was broken
		_ = l.client.Close()
		close(l.closed)
	})
}
