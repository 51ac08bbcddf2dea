package epoll

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens a socket that is closed with the test, and says where.
func listen(t *testing.T, addr string, o Options) (int, netip.AddrPort) {
	t.Helper()
	fd, err := Listen(addr, o)
	must(t, err)
	t.Cleanup(func() { must(t, Close(fd)) })
	local, err := LocalAddr(fd)
	must(t, err)
	return fd, local
}

func dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", addr)
}

// acceptOne waits for a connection, which is closed with the test.
func acceptOne(t *testing.T, fd int) (int, netip.AddrPort) {
	t.Helper()
	p := newPoller(t)
	must(t, p.Add(fd, MakeToken(fd, 0), ForRead))
	waitOne(t, p)
	must(t, p.Remove(fd))
	conn, from, err := Accept(fd)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(conn) })
	return conn, from
}

func TestConnectionsInheritTheListenersOptions(t *testing.T) {
	fd, addr := listen(t, "127.0.0.1:0", Options{
		SendBuffer: 16384, RecvBuffer: 8192, KeepAlive: 1500 * time.Millisecond, UserTimeout: 20 * time.Second,
	})
	c, err := dial(t.Context(), addr.String())
	must(t, err)
	defer c.Close()
	conn, from := acceptOne(t, fd)
	if from.String() != c.LocalAddr().String() {
		t.Errorf("accepted from %v, want %v", from, c.LocalAddr())
	}
	for _, o := range []struct {
		name             string
		level, opt, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 2},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 20000},
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * 16384},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 2 * 8192},
	} {
		if got, err := unix.GetsockoptInt(conn, o.level, o.opt); err != nil || got != o.want {
			t.Errorf("%s = %d, %v; want %d", o.name, got, err, o.want)
		}
	}
	for _, flag := range []struct{ get, want int }{{unix.F_GETFL, unix.O_NONBLOCK}, {unix.F_GETFD, unix.FD_CLOEXEC}} {
		if got, err := unix.FcntlInt(uintptr(conn), flag.get, 0); err != nil || got&flag.want == 0 {
			t.Errorf("flags %#x, %v; want %#x in them", got, err, flag.want)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for _, c := range []struct{ listen, dial, from string }{
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		{"localhost:0", "localhost", ""},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.1"},
		{"[::1]:0", "::1", "::1"},
		{"[::]:0", "::1", "::1"},
		{":0", "127.0.0.1", "127.0.0.1"}, // not ::ffff:127.0.0.1
		{":0", "::1", "::1"},
	} {
		fd, addr := listen(t, c.listen, Options{})
		conn, err := dial(t.Context(), net.JoinHostPort(c.dial, strconv.Itoa(int(addr.Port()))))
		if err != nil {
			t.Errorf("listen %s, dial %s: %v", c.listen, c.dial, err)
			continue
		}
		if _, from := acceptOne(t, fd); c.from != "" && from.Addr().String() != c.from {
			t.Errorf("listen %s: accepted from %v, want %v", c.listen, from, c.from)
		}
		must(t, conn.Close())
	}
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	if _, err := Listen(taken.Addr().String(), Options{}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port taken without SO_REUSEPORT: %v", err)
	}
	for _, bad := range []string{"", "x", "127.0.0.1", "127.0.0.1:99999", "[fe80::1%none]:0"} {
		if fd, err := Listen(bad, Options{}); err == nil {
			t.Errorf("Listen(%q) = %d: want an error", bad, fd)
		}
	}
}

// TestUnlistenSendsArrivalsToTheSiblings takes one of two listeners out of the
// group and back.
func TestUnlistenSendsArrivalsToTheSiblings(t *testing.T) {
	a, addr := listen(t, "127.0.0.1:0", Options{})
	b, _ := listen(t, addr.String(), Options{Join: true})
	connect := func(n int) (toA, toB int) {
		t.Helper()
		conns := make([]net.Conn, n)
		for i := range conns {
			c, err := dial(t.Context(), addr.String())
			must(t, err)
			conns[i] = c
		}
		toA, toB = drain(t, a), drain(t, b)
		for _, c := range conns {
			must(t, c.Close())
		}
		return toA, toB
	}
	if toA, toB := connect(60); toA == 0 || toB == 0 || toA+toB != 60 {
		t.Fatalf("both listen: %d and %d", toA, toB)
	}
	waiting, err := dial(t.Context(), addr.String())
	must(t, err)
	defer waiting.Close()
	taken := 0
	must(t, Unlisten(a, func(conn int, _ netip.AddrPort) {
		taken++
		must(t, Close(conn))
	}))
	if inB := drain(t, b); taken+inB != 1 {
		t.Errorf("the waiting connection: %d taken, %d at the sibling", taken, inB)
	}
	if _, _, err := Accept(a); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Accept of a socket that does not listen: %v", err)
	}
	if _, toB := connect(30); toB != 30 {
		t.Errorf("one listens: %d of 30 reached it", toB)
	}
	must(t, Relisten(a, 0))
	if toA, toB := connect(60); toA == 0 || toA+toB != 60 {
		t.Errorf("both listen again: %d and %d", toA, toB)
	}
}

// drain accepts and closes all that wait, and counts them; -1 when fd does not
// listen.
func drain(t *testing.T, fd int) int {
	t.Helper()
	for n := 0; ; n++ {
		conn, _, err := Accept(fd)
		switch {
		case errors.Is(err, ErrWouldBlock):
			return n
		case errors.Is(err, unix.EINVAL):
			return -1
		}
		must(t, err)
		must(t, Close(conn))
	}
}

// TestUnlistenUnderLoad takes a listener out and back while clients connect
// and wait for a byte each. Without net.ipv4.tcp_migrate_req the kernel resets
// the few whose handshake is under way at that instant; a queue lost would be
// hundreds.
func TestUnlistenUnderLoad(t *testing.T) {
	a, addr := listen(t, "127.0.0.1:0", Options{})
	b, _ := listen(t, addr.String(), Options{Join: true})
	var stop atomic.Bool
	type result struct{ ok, lost int }
	results := make(chan result)
	for range 4 {
		go func() {
			var r result
			for !stop.Load() {
				if greeted(t.Context(), addr.String()) {
					r.ok++
				} else {
					r.lost++
				}
			}
			results <- r
		}()
	}
	greet := func(conn int, _ netip.AddrPort) {
		_, _ = Write(conn, []byte("x"))
		_ = Close(conn)
	}
	serve := func(fd int, until time.Time) {
		for time.Now().Before(until) {
			conn, from, err := Accept(fd)
			if err == nil {
				greet(conn, from)
			} else {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for !stop.Load() {
			serve(b, in(time.Millisecond))
		}
	}()
	const rounds = 20
	for range rounds {
		serve(a, in(10*time.Millisecond))
		must(t, Unlisten(a, greet))
		time.Sleep(5 * time.Millisecond)
		must(t, Relisten(a, 0))
	}
	stop.Store(true)
	var sum result
	for got := 0; got < 4; {
		select {
		case r := <-results:
			got, sum.ok, sum.lost = got+1, sum.ok+r.ok, sum.lost+r.lost
		default:
			serve(a, in(time.Millisecond))
			serve(b, in(time.Millisecond))
		}
	}
	<-served
	t.Logf("%d connected, %d lost in %d rounds", sum.ok, sum.lost, rounds)
	if sum.ok == 0 || sum.lost > rounds {
		t.Errorf("%d connected, %d lost in %d rounds", sum.ok, sum.lost, rounds)
	}
}

func greeted(ctx context.Context, addr string) bool {
	c, err := dial(ctx, addr)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(in(5 * time.Second))
	n, _ := c.Read(make([]byte, 1))
	return n == 1
}

func TestReadAndWriteSayHowItEnded(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 8)
	if n, err := Read(a, buf); n != 0 || !errors.Is(err, ErrWouldBlock) {
		t.Errorf("nothing sent: %d, %v", n, err)
	}
	if n, err := Write(a, nil); n != 0 || err != nil {
		t.Errorf("Write of nothing: %d, %v", n, err)
	}
	if n, err := Read(a, nil); n != 0 || err != nil {
		t.Errorf("Read into nothing: %d, %v", n, err)
	}
	must(t, CloseWrite(b))
	if n, err := Read(a, buf); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("peer ended its side: %d, %v", n, err)
	}
	if n, err := Write(a, []byte("still")); n != 5 || err != nil {
		t.Errorf("write after a half-close: %d, %v", n, err)
	}
	must(t, unix.Shutdown(b, unix.SHUT_RD))
	if _, err := Write(a, []byte("gone")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("write to a peer that is gone: %v", err)
	}
	if err := CloseWrite(1 << 30); !errors.Is(err, unix.EBADF) {
		t.Errorf("CloseWrite of no descriptor: %v", err)
	}
	if err := Close(1 << 30); !errors.Is(err, unix.EBADF) {
		t.Errorf("Close of no descriptor: %v", err)
	}
	if _, _, err := Accept(a); err == nil {
		t.Error("Accept of a connection: want an error")
	}
	if _, err := Writev(1<<30, [][]byte{{1}}); !errors.Is(err, unix.EBADF) {
		t.Errorf("Writev to no descriptor: %v", err)
	}
}

func TestWritevIsOneStreamInOrder(t *testing.T) {
	for _, count := range []int{0, 1, 3, MaxWritev, MaxWritev + 5} {
		a, b := pair(t)
		var bufs [][]byte
		var want []byte
		for i := range count {
			one := bytes.Repeat([]byte{byte(i)}, i%4) // some are empty
			bufs = append(bufs, one)
			want = append(want, one...)
		}
		n, err := Writev(a, bufs)
		must(t, err)
		got := make([]byte, 1024)
		m := 0
		if n > 0 {
			m, err = Read(b, got)
			must(t, err)
		}
		if n != m || !bytes.HasPrefix(want, got[:m]) || count <= MaxWritev && n != len(want) {
			t.Errorf("%d buffers: wrote %d, read %d %v, want %v", count, n, m, got[:m], want)
		}
	}
}

func TestSocketCallsDoNotAllocate(t *testing.T) {
	a, b := pair(t)
	fd, _ := listen(t, "127.0.0.1:0", Options{})
	buf, bufs := make([]byte, 64), [][]byte{[]byte("ab"), []byte("c")}
	for name, f := range map[string]func(){
		"Write":             func() { _, _ = Write(a, buf); _, _ = Read(b, buf) },
		"Writev":            func() { _, _ = Writev(a, bufs); _, _ = Read(b, buf) },
		"Read without data": func() { _, _ = Read(a, buf) },
		"Accept of nothing": func() { _, _, _ = Accept(fd) },
	} {
		if allocs := testing.AllocsPerRun(100, f); allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}
