package front

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// crowd is a worker whose loop the test drives turn by turn, with connections
// over loopback that somebody drains: for measuring what the loop does.
type crowd struct {
	*Worker
	tb    testing.TB
	reg   *prometheus.Registry
	peers []int // the clients' descriptors
	users []hub.UserID
	conns []*conn

	address unix.Sockaddr
}

func newCrowd(tb testing.TB, n int) *crowd {
	tb.Helper()
	return newCrowdOf(tb, n, nil)
}

// newCrowdOf is newCrowd of a worker with the given standing; nil: a good one.
func newCrowdOf(tb testing.TB, n int, standing func() hub.Standing) *crowd {
	tb.Helper()
	cfg := testConfig(tb)
	cfg.MaxDescriptors, cfg.AdmitRate, cfg.AddressRate, cfg.PingInterval = 1<<20, 0, 0, time.Hour
	cfg.UserConnections, cfg.ByteRate = 0, 0
	listeners, err := Listen(&cfg)
	if err != nil {
		tb.Fatal(err)
	}
	reg := newRegistry()
	w, err := NewWorker(cfg, listeners, Deps{
		Log: testLog(tb), Registry: reg, Presence: nobody{}, Auth: fakeAuth{}, Standing: standing,
	})
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowd{Worker: w, tb: tb, reg: reg}
	tb.Cleanup(func() {
		_ = w.loop.Close()
		for _, fd := range c.peers {
			_ = unix.Close(fd)
		}
	})
	if c.address, err = unix.Getsockname(listeners[0].FD); err != nil {
		tb.Fatal(err)
	}
	for range n {
		c.connect(tb)
	}
	return c
}

// step runs one turn of the loop.
func (c *crowd) step() { c.stepAs(&c.turns) }

func (c *crowd) stepAs(h loop.Handler[client]) {
	if err := c.loop.Step(h); err != nil {
		c.tb.Fatal(err)
	}
}

// arriving is the worker but for its deliveries, which wait.
type arriving struct{ *turns }

func (arriving) EndTurn() {}

// connect has one more client connect and be greeted.
func (c *crowd) connect(tb testing.TB) {
	tb.Helper()
	c.connectAs(tb, hub.UserID(fmt.Sprint("user-", len(c.users))))
}

// connectAs is connect for a client of the given user.
func (c *crowd) connectAs(tb testing.TB, user hub.UserID) {
	tb.Helper()
	peer, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	c.peers = append(c.peers, peer)
	if err := unix.Connect(peer, c.address); err != nil {
		tb.Fatal(err)
	}
	if _, err := unix.Write(peer, []byte(joining(string(user)+"@chess"))); err != nil {
		tb.Fatal(err)
	}
	_ = unix.SetNonblock(peer, true)
	c.users = append(c.users, user)
	joined := c.sessions.users.joined
	var buf [1024]byte
	wait(tb, "hello", func() bool {
		c.stepAs(arriving{&c.turns})
		n, _ := unix.Read(peer, buf[:])
		return n > 0 && bytes.Contains(buf[:n], []byte(`"hello"`))
	})
	if c.sessions.users.joined != joined+1 {
		tb.Fatal("more than one connection came")
	}
	c.conns = append(c.conns, c.sessions.users.newest[user])
}

// written is how many messages were written since the last call.
func (c *crowd) written() func() int {
	count := func() float64 { return metricOf(c.tb, c.reg, "homing_front_written_messages_total") }
	last := count()
	return func() int {
		n := count() - last
		last += n
		return int(n)
	}
}

// deliver has the loop deliver one envelope, in as many turns as it takes.
func (c *crowd) deliver(body []byte) {
	c.deliverTo(body, nil)
}

// deliverTo is deliver with somebody who is told of its outcome.
func (c *crowd) deliverTo(body []byte, done func(hub.Outcome)) {
	c.Deliver(body, false, done)
	for first := true; first || c.deliveries.current.begun || len(c.deliveries.closings) > 0; first = false {
		c.step()
	}
}

// drain reads what all peers have got.
func (c *crowd) drain() {
	var buf [64 << 10]byte
	for _, fd := range c.peers {
		for n, err := unix.Read(fd, buf[:]); err == nil && n == len(buf); {
			n, err = unix.Read(fd, buf[:])
		}
	}
}

// envelope addresses 150 users of the crowd and as many others, from start on.
func (c *crowd) envelope(start int) []byte {
	e := note(`"` + strings.Repeat("x", 160) + `"`) // 200 bytes on the wire
	for i := range 150 {
		e.Users = append(e.Users, c.users[(start+i*7919)%len(c.users)], hub.UserID(fmt.Sprint("nobody-", start, i)))
	}
	return e.Append(nil)
}

func TestDeliverAllocatesNothingPerTarget(t *testing.T) {
	c := newCrowd(t, 300)
	few, many := note(`1`, c.users[:1]...), note(`1`, c.users...)
	run := func(e hub.Envelope) float64 {
		body := e.Append(nil)
		return testing.AllocsPerRun(20, func() {
			c.deliver(body)
			c.drain()
		})
	}
	one, all := run(few), run(many)
	if one > 3 || all != one {
		t.Errorf("%v allocations for one target, %v for 300; want at most 3, and the same", one, all)
	}
}

func TestConnectionIsSmall(t *testing.T) {
	const want = 112
	if size := unsafe.Sizeof(conn{}); size > want {
		t.Errorf("a connection takes %d bytes, want at most %d", size, want)
	}
}

// BenchmarkDeliver writes notifications of 200 bytes to 150 of 2,000 sockets,
// and, for comparison in the same run, the same bytes to the same sockets with
// nothing around the system call. ns/op is per target.
func BenchmarkDeliver(b *testing.B) {
	c := newCrowd(b, 2000)
	for name, step := range map[string]func(body []byte, start int){
		"worker": func(body []byte, _ int) { c.deliver(body) },
		"bare": func(body []byte, start int) {
			d, err := hub.ParseEnvelope(body)
			if err != nil {
				b.Fatal(err)
			}
			frame := ws.Frame(ws.OpText, d.Payload)
			for i := range 150 {
				conn := c.conns[(start+i*7919)%len(c.users)]
				if _, err := epoll.Write(conn.Place(), frame); err != nil {
					b.Fatal(err)
				}
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			var bodies [][]byte
			for i := range 64 {
				bodies = append(bodies, c.envelope(i*31))
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += 150 {
				step(bodies[i/150%64], i/150%64*31)
				b.StopTimer()
				if i/150%10 == 0 {
					c.drain()
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkIdleMemory reports what an idle connection takes in user space.
func BenchmarkIdleMemory(b *testing.B) {
	const n = 5000
	before := heap()
	c := newCrowd(b, n)
	c.drain()
	users := int64(len(c.users)) * (16 + 16) // the names that the benchmark holds
	kib := float64(heap()-before-users) / n / 1024
	for b.Loop() { // nothing: it is idle
	}
	b.ReportMetric(kib, "KiB/conn")
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkHandshake connects, reads hello and leaves; user and system time of
// this process, both ends, are reported per connect.
func BenchmarkHandshake(b *testing.B) {
	r := start(b, func(c *Config) { c.AdmitRate, c.ByteRate = 0, 0 }) // one user comes as fast as it can
	request := []byte("GET /ws?token=ann HTTP/1.1\r\n" + upgradeHead + "\r\n")
	before := cpu(b)
	for b.Loop() {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		var buf [512]byte
		for got := 0; got < 190; { // the reply and hello
			n, err := conn.Read(buf[:])
			if err != nil {
				b.Fatal(err)
			}
			if got == 0 && !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 101")) {
				b.Fatalf("refused: %s", buf[:n])
			}
			got += n
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT to run out of ports
		_ = conn.Close()
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
