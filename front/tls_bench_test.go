package front

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"testing"
	"time"

	gws "github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func startBenchTLS(tb testing.TB) *rig {
	tb.Helper()
	r, _ := startTLS(tb, func(c *Config) {
		c.AdmitRate, c.AddressRate, c.AddressPending, c.PingInterval = 0, 0, 0, time.Hour
	})
	return r
}

// client is the client's configuration, with sessions to resume if it is to.
func clientTLS(sessions tls.ClientSessionCache) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "first.example", ClientSessionCache: sessions}
}

// BenchmarkIdleTLSMemory reports what an idle connection over TLS takes in user
// space, after a small message from the client and after one of a whole record.
func BenchmarkIdleTLSMemory(b *testing.B) {
	for _, size := range []int{16, 16 << 10} {
		b.Run(fmt.Sprintf("message=%d", size), func(b *testing.B) {
			const n = 500
			r := startBenchTLS(b)
			visit(b, r, size) // what the first one brings about for all
			before := heap()
			for range n {
				visit(b, r, size)
			}
			wait(b, "all messages", func() bool {
				return r.metric("homing_front_received_messages_total") == n+1
			})
			kib := float64(heap()-before) / n / 1024
			wait(b, "all connections", func() bool { return r.metric("homing_front_connections") == n+1 })
			for b.Loop() { // nothing: it is idle
			}
			b.ReportMetric(kib, "KiB/conn")
			runtime.KeepAlive(r)
		})
	}
}

// visit connects, sends a message of one record, and keeps of the client only
// its socket.
func visit(tb testing.TB, r *rig, size int) {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fd) })
	addr := r.Addresses()[0]
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		tb.Fatal(err)
	}
	conn := tls.Client(rawConn{fd: fd}, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	u := &url.URL{Scheme: "wss", Host: r.addr, Path: "/ws", RawQuery: "token=" + fmt.Sprint("u", fd)}
	if _, _, err := (gws.Dialer{}).Upgrade(conn, u); err != nil {
		tb.Fatal(err)
	}
	frame := gws.MustCompileFrame(gws.MaskFrame(gws.NewTextFrame(make([]byte, max(0, size-16)))))
	if _, err := conn.Write(frame); err != nil {
		tb.Fatal(err)
	}
}

// rawConn is a socket without anything around it.
type rawConn struct {
	net.Conn
	fd int
}

func (c rawConn) Write(p []byte) (int, error) { return unix.Write(c.fd, p) }

func (c rawConn) Read(p []byte) (int, error) {
	n, err := unix.Read(c.fd, p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// BenchmarkTLSHandshake connects over TLS and reads hello: user and system time
// of this process, both ends, are reported per connect.
func BenchmarkTLSHandshake(b *testing.B) {
	for name, sessions := range map[string]tls.ClientSessionCache{"full": nil, "resumed": tls.NewLRUClientSessionCache(1)} {
		b.Run(name, func(b *testing.B) {
			r := startBenchTLS(b)
			cfg := clientTLS(sessions)
			connectTLS(b, r, cfg)
			before := cpu(b)
			for b.Loop() {
				connectTLS(b, r, cfg)
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
			b.ReportMetric(r.metric("homing_front_tls_handshakes_total", "result", "resumed")/float64(b.N), "resumed/op")
		})
	}
}

func connectTLS(tb testing.TB, r *rig, cfg *tls.Config) {
	tb.Helper()
	raw, err := net.Dial("tcp", r.addr)
	if err != nil {
		tb.Fatal(err)
	}
	conn := tls.Client(raw, cfg)
	if _, err := io.WriteString(conn, "GET /ws?token=ann HTTP/1.1\r\n"+upgradeHead+"\r\n"); err != nil {
		tb.Fatal(err)
	}
	var buf [512]byte
	for got := 0; got < 190; { // the reply and hello
		n, err := conn.Read(buf[:])
		if err != nil {
			tb.Fatal(err)
		}
		got += n
	}
	_ = raw.(*net.TCPConn).SetLinger(0) // no TIME_WAIT to run out of ports
	_ = raw.Close()
}
