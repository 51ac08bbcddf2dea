package tlsconn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/epoll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testCertificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	tmpl := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pipe is an open connection: the server's side as a loop has it, and a client.
type pipe struct {
	*Conn
	t      testing.TB
	fd     int // the server's
	client *tls.Conn
	raw    net.Conn // the client's socket
	step   int      // bytes that the server reads at a time
}

// open shakes hands over a pair of sockets; the server reads step bytes at a time.
func open(tb testing.TB, version uint16, step int) *pipe {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[1]), "client")
	raw, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		tb.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{testCertificate(tb)}, MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true}
	p := &pipe{t: tb, fd: fds[0], raw: raw, step: step, Conn: New(fds[0], cfg, &Buffers{}, 1<<14)}
	p.client = tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, DynamicRecordSizingDisabled: true})
	tb.Cleanup(func() { _ = raw.Close(); _ = unix.Close(fds[0]) })
	p.shake()
	return p
}

// shake is what a loop does for a handshake, one thing after the other.
func (p *pipe) shake() {
	p.t.Helper()
	shaken := make(chan error, 1)
	go func() { shaken <- p.client.Handshake() }()
	for whole := false; !whole; {
		var err error
		if whole, err = p.Hello(p.readRaw()); err != nil {
			p.t.Fatal(err)
		}
	}
	ready, done := make(chan struct{}, 8), make(chan error, 1)
	p.Begin(NewPlaces(1), func() { ready <- struct{}{} })
	go func() { done <- p.Handshake() }()
	for over := false; !over; {
		select {
		case <-ready:
			_, _ = p.Flush()
		case err := <-done:
			if err != nil {
				p.t.Fatal(err)
			}
			over = true
		default:
			if data := p.tryRaw(); len(data) > 0 {
				if err := p.Feed(data); err != nil {
					p.t.Fatal(err)
				}
			}
		}
	}
	_, _ = p.Flush()
	if err := <-shaken; err != nil {
		p.t.Fatal(err)
	}
	p.Opened()
}

// tryRaw reads some ciphertext, if there is any.
func (p *pipe) tryRaw() []byte {
	buf := make([]byte, p.step)
	n, err := epoll.Read(p.fd, buf)
	if errors.Is(err, epoll.ErrWouldBlock) {
		time.Sleep(100 * time.Microsecond)
	}
	return buf[:n]
}

func (p *pipe) readRaw() []byte {
	for {
		if data := p.tryRaw(); len(data) > 0 {
			return data
		}
	}
}

// receive decrypts until there are n bytes, or an error.
func (p *pipe) receive(n int) (out []byte, err error) {
	for {
		plain, err := p.Next()
		out = append(out, plain...)
		switch {
		case len(out) >= n && n > 0:
			return out, nil
		case errors.Is(err, ErrNoInput):
			p.Take(p.readRaw())
		case err != nil:
			return out, err
		}
	}
}

func TestBothDirections(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		for _, step := range []int{1, 7, 64 << 10} {
			p := open(t, version, step)
			want := bytes.Repeat([]byte("0123456789"), 4000)
			go func() {
				_, _ = p.client.Write(want[:1])
				_, _ = p.client.Write(want[1:])
			}()
			got, err := p.receive(len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("TLS %s, %d bytes at a time: got %d bytes, %v", name, step, len(got), err)
			}
			p.wantEcho(want)
		}
	}
}

// wantEcho has the client read what the server writes, in parts.
func (p *pipe) wantEcho(want []byte) {
	p.t.Helper()
	read := make(chan []byte, 1)
	go func() {
		got := make([]byte, len(want))
		_, _ = io.ReadFull(p.client, got)
		read <- got
	}()
	for rest := want; len(rest) > 0; {
		n, err := p.Writev([][]byte{rest[:1], rest[1:]})
		if errors.Is(err, epoll.ErrWouldBlock) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		rest = rest[n:]
	}
	for p.Pending() {
		_, _ = p.Flush()
	}
	if got := <-read; !bytes.Equal(got, want) {
		p.t.Error("the client reads something else")
	}
}

func TestAClientThatDoesNotReadHoldsLittle(t *testing.T) {
	p := open(t, tls.VersionTLS13, 4096)
	message := make([]byte, 100<<10)
	for taken := 0; ; {
		n, err := p.Write(message)
		taken += n
		if errors.Is(err, epoll.ErrWouldBlock) {
			break
		}
		if err != nil || taken > 16<<20 {
			t.Fatalf("%d bytes taken, %v", taken, err)
		}
	}
	if len(p.pending) == 0 || len(p.pending) > maxPending {
		t.Errorf("%d bytes pending", len(p.pending))
	}
	if n, err := p.Write([]byte("x")); n != 0 || !errors.Is(err, epoll.ErrWouldBlock) {
		t.Errorf("Write while ciphertext waits: %d, %v", n, err)
	}
	p.transport.buffers.out = make([]byte, maxPending) // what it asks TLS to answer
	if err := p.push(); !errors.Is(err, ErrBacklog) {
		t.Errorf("more and more is pending: %v", err)
	}
	go func() { _, _ = io.Copy(io.Discard, p.client) }()
	for p.Pending() {
		if _, err := p.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if p.pending != nil {
		t.Error("the buffer of what was pending is kept")
	}
}

func TestCloseNotify(t *testing.T) {
	p := open(t, tls.VersionTLS13, 4096)
	if err := p.CloseNotify(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d, %v; want EOF", n, err)
	}
	_, _ = p.client.Write([]byte("last words"))
	_ = p.client.CloseWrite()
	if got, err := p.receive(0); string(got) != "last words" || !errors.Is(err, io.EOF) {
		t.Errorf("after our close_notify %q, %v", got, err)
	}
}

func TestRecordsAreCounted(t *testing.T) {
	p := open(t, tls.VersionTLS13, 64<<10)
	const n = 20
	go func() {
		for range n {
			_, _ = p.client.Write([]byte("x"))
		}
	}()
	records, bytes := 0, 0
	for bytes < n {
		records += p.Take(p.readRaw())
		for {
			plain, err := p.Next()
			if errors.Is(err, ErrNoInput) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			bytes += len(plain)
		}
	}
	if records != n {
		t.Errorf("%d records counted, want %d", records, n)
	}
}

func TestWhatIsNoTLSEndsTheConnection(t *testing.T) {
	p := open(t, tls.VersionTLS13, 4096)
	_, _ = p.raw.Write([]byte("\x17\x03\x03\x00\x20" + string(make([]byte, 32))))
	if _, err := p.receive(0); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want an error of the record's MAC", err)
	}
	if _, err := p.client.Read(make([]byte, 1)); !IsAlert(err) {
		t.Errorf("the client reads %v, want an alert", err)
	}
}

func TestEndInterruptsAHandshake(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	cfg := &tls.Config{Certificates: []tls.Certificate{testCertificate(t)}}
	c := New(fds[0], cfg, &Buffers{}, 1<<14)
	if ok, err := c.Hello(clientHello(t)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	ready, done := make(chan struct{}, 8), make(chan error, 1)
	places := NewPlaces(1)
	c.Begin(places, func() { ready <- struct{}{} })
	go func() { done <- c.Handshake() }()
	<-ready                   // it waits for its client
	for places.Wanted() > 0 { // it holds no place while it waits
		time.Sleep(time.Millisecond)
	}
	if err := c.Feed(make([]byte, 1<<14+1)); !errors.Is(err, ErrTooMuch) {
		t.Errorf("more than the limit: %v", err)
	}
	c.End()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestTooLongAHello(t *testing.T) {
	c := New(-1, &tls.Config{}, &Buffers{}, 100)
	if _, err := c.Hello(clientHello(t)); !errors.Is(err, ErrTooMuch) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("it can be written to before the handshake")
	}
}
