package redisx

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx/redisproc"
)

func startServer(t *testing.T) *redisproc.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := redisproc.StartServer(ctx, redisproc.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func testDialect(addr string) *dialect {
	const limit = 500 * time.Millisecond
	return &dialect{
		target:   &target{name: addr, addrs: []string{addr}},
		timeouts: timeouts{dial: limit, read: limit, write: limit},
		poolSize: 4,
	}
}

// A new connection that finds another role than the one believed is refused,
// and the node is looked at again.
func TestWrongRole(t *testing.T) {
	t.Parallel()
	p := startServer(t)
	n := newNode(testDialect(p.Addr()), p.Addr(), newRefusalLog(slog.New(slog.DiscardHandler), newMetrics(nil)))
	defer n.current.Load().close()
	err := n.client().Ping(t.Context()).Err()
	if !errors.Is(err, ErrWrongRole) || !unavailable(err) {
		t.Errorf("error %v, want ErrWrongRole as unavailable", err)
	}
	if len(n.kick) != 1 {
		t.Error("nobody looks at the node")
	}
	n.expect(wanted{role: roleMaster})
	if err := n.client().Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// A new connection to a replica that was restarted is refused until that was
// noticed, although its link to the master is up again: others may not wait for
// it yet, and it is behind what they were told is copied.
func TestRestartedReplica(t *testing.T) {
	t.Parallel()
	master := startServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := redisproc.StartServer(ctx, redisproc.ServerOptions{ReplicaOf: master.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	d := testDialect(p.Addr())
	c := p.Client()
	defer c.Close()
	seen := look(ctx, d, c, false)
	for !seen.linked {
		time.Sleep(10 * time.Millisecond)
		if seen = look(ctx, d, c, false); ctx.Err() != nil {
			t.Fatalf("no link: %+v", seen)
		}
	}
	n := newNode(d, p.Addr(), newRefusalLog(slog.New(slog.DiscardHandler), newMetrics(nil)))
	defer n.current.Load().close()
	n.expect(wanted{role: roleReplica, life: "another"})
	if err := n.client().Ping(ctx).Err(); !errors.Is(err, ErrWrongRole) {
		t.Errorf("error %v, want ErrWrongRole", err)
	}
	if len(n.kick) != 1 {
		t.Error("nobody looks at the node")
	}
	n.expect(wanted{role: roleReplica, life: seen.runID})
	if err := n.client().Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
}

// What a command that was given up has not brought to the server is forgotten:
// it must not arrive when the network is back.
func TestWhatIsGivenUpIsForgotten(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ended := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			defer conn.Close()
			_, err = io.Copy(io.Discard, conn) // it answers nothing
		}
		ended <- err
	}()
	d := testDialect(ln.Addr().String())
	d.read = 50 * time.Millisecond
	c := redis.NewClient(d.options(ln.Addr().String()))
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err == nil {
		t.Fatal("no error")
	}
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset: what is not sent is sent later", err)
	}
}

// A server that sends nothing of its own is pinged, and one that answers is
// not left; what it sent before a retirement is read.
func TestLink(t *testing.T) {
	t.Parallel()
	p := startServer(t)
	l, err := openLink(t.Context(), testDialect(p.Addr()).options(p.Addr()), []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	guarded := make(chan error, 1)
	go func() { guarded <- l.guard(t.Context(), 20*time.Millisecond, 500*time.Millisecond) }()
	var got []string
	ended := make(chan error, 1)
	go func() {
		ended <- l.read(t.Context(), func(m *redis.Message) { got = append(got, m.Channel) })
	}()
	time.Sleep(200 * time.Millisecond)
	if at := l.lastHeard().String(); !strings.Contains(at, " m=") {
		t.Errorf("heard at %s, which a set clock moves", at)
	}
	if s := l.silence(); s > 100*time.Millisecond {
		t.Errorf("pinged each 20 ms, and silent for %s", s)
	}
	c := p.Client()
	defer c.Close()
	for _, channel := range []string{"a", "b", "a"} {
		if err := c.Publish(t.Context(), channel, channel).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.retire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err = <-ended; !errors.Is(err, errRetired) || len(got) != 3 {
		t.Errorf("read %v, %v", got, err)
	}
	l.close()
	if err := <-guarded; err != nil {
		t.Errorf("guard: %v", err)
	}
}
