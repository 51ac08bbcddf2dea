package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/homing/homing/front/poll"
)

// tlsBuffer is how many bytes a TLS connection takes before they are
// encrypted: its counterpart of a socket's send buffer.
const tlsBuffer = 16 << 10

// tlsStream makes a TLS connection look to the loop like a raw socket: write
// takes what fits and never blocks. Two goroutines do the rest: one decrypts
// and posts what it read, waiting each time until the loop has taken it; the
// other encrypts and writes.
type tlsStream struct {
	conn *tls.Conn
	raw  net.Conn
	kick chan struct{} // capacity 1: the writer has something to look at
	took chan struct{} // capacity 1: the loop has taken what was read
	gone chan struct{} // closed when the loop has dropped the connection

	mu      sync.Mutex
	pending []byte // guarded by mu
	starved bool   // guarded by mu: the loop waits for room
	ended   bool   // guarded by mu: nothing follows pending
}

// startTLS hands c's descriptor to a TLS connection. It drops c on failure.
func (w *Worker) startTLS(c *conn) {
	t, err := newTLSStream(int(c.fd), w.certs)
	c.fd = -1
	if err != nil {
		w.log.Error("start TLS", "err", err)
		w.drop(c, dropLost)
		return
	}
	c.side = &side{tls: t}
	w.helpers.Go(func() { w.readTLS(c, t) })
	w.helpers.Go(func() { w.writeTLS(c, t) })
}

func newTLSStream(fd int, certs *certificates) (*tlsStream, error) {
	f := os.NewFile(uintptr(fd), "connection")
	raw, err := net.FileConn(f) // which duplicates fd
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("hand over descriptor %d: %w", fd, err)
	}
	if err := f.Close(); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("close descriptor %d: %w", fd, err)
	}
	return &tlsStream{
		conn: tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get, NextProtos: []string{"http/1.1"}}),
		raw:  raw,
		kick: make(chan struct{}, 1),
		took: make(chan struct{}, 1),
		gone: make(chan struct{}),
	}, nil
}

// write takes a front part of p, or says that there is no room.
func (t *tlsStream) write(p []byte) (int, error) {
	t.mu.Lock()
	n := min(len(p), tlsBuffer-len(t.pending))
	t.pending = append(t.pending, p[:n]...)
	t.starved = n < len(p)
	t.mu.Unlock()
	if n == 0 {
		return 0, poll.ErrWouldBlock
	}
	t.poke()
	return n, nil
}

// end has our side ended once all that was written is on its way.
func (t *tlsStream) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.poke()
}

// abort ends the connection and both goroutines at once.
func (t *tlsStream) abort() {
	close(t.gone)
	_ = t.raw.Close() // the peer learns; nobody else wants to know
}

func (t *tlsStream) poke() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// next takes what waits to be encrypted, in exchange for an empty buffer.
func (t *tlsStream) next(spare []byte) (data []byte, starved, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	data, t.pending = t.pending, spare[:0]
	starved, t.starved = t.starved, false
	return data, starved, t.ended
}

// readTLS decrypts until the connection ends, which it tells the loop.
func (w *Worker) readTLS(c *conn, t *tlsStream) {
	buf := make([]byte, 4<<10)
	for {
		n, err := t.conn.Read(buf)
		w.Post(func() {
			if n > 0 {
				w.received(c, buf[:n])
			}
			if err != nil && c.state != stateGone {
				w.hungUp(c, err)
			}
			t.took <- struct{}{}
		})
		if err != nil {
			return
		}
		select {
		case <-t.took:
		case <-t.gone:
			return
		}
	}
}

// writeTLS encrypts until the connection ends. A failed write shows as a
// failed read.
func (w *Worker) writeTLS(c *conn, t *tlsStream) {
	var spare []byte
	for {
		select {
		case <-t.kick:
		case <-t.gone:
			return
		}
		data, starved, ended := t.next(spare)
		if len(data) > 0 {
			if _, err := t.conn.Write(data); err != nil {
				_ = t.raw.Close()
				return
			}
		}
		spare = data
		if starved {
			w.Post(func() { w.roomAgain(c) })
		}
		if ended && len(data) == 0 {
			_ = t.conn.CloseWrite()
			if tcp, ok := t.raw.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
		if ended {
			t.poke()
		}
	}
}

// roomAgain goes on writing to a TLS connection that had no room.
func (w *Worker) roomAgain(c *conn) {
	if c.state != stateGone {
		w.flush(c)
	}
}

// certificates serves one certificate from files and reads them again when
// they change. Safe for concurrent use.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate // guarded by mu
	changed time.Time        // guarded by mu: the newer file's time when cert was read
	looked  time.Time        // guarded by mu: when the files were last looked at
}

// certCheck is how often the files are looked at, when connections arrive.
const certCheck = time.Second

func loadCertificates(certFile, keyFile string, log *slog.Logger) (*certificates, error) {
	cs := &certificates{certFile: certFile, keyFile: keyFile, log: log}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if err := cs.loadLocked(); err != nil {
		return nil, err
	}
	return cs, nil
}

func (cs *certificates) loadLocked() error {
	changed := cs.modified()
	cert, err := tls.LoadX509KeyPair(cs.certFile, cs.keyFile)
	if err != nil {
		return fmt.Errorf("front.tls-cert: %q: %w", cs.certFile, err)
	}
	cs.cert, cs.changed = &cert, changed
	return nil
}

// modified is the newer of the two files' times; zero when one is missing.
func (cs *certificates) modified() time.Time {
	cert, err := os.Stat(cs.certFile)
	if err != nil {
		return time.Time{}
	}
	key, err := os.Stat(cs.keyFile)
	if err != nil {
		return time.Time{}
	}
	if key.ModTime().After(cert.ModTime()) {
		return key.ModTime()
	}
	return cert.ModTime()
}

// get is tls.Config.GetCertificate. Files that do not fit together, as in the
// middle of a renewal, leave the old certificate in use.
func (cs *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if time.Since(cs.looked) < certCheck {
		return cs.cert, nil
	}
	cs.looked = time.Now()
	if m := cs.modified(); !m.IsZero() && !m.Equal(cs.changed) {
		if err := cs.loadLocked(); err != nil {
			cs.log.Error("read the certificate again", "err", err)
		} else {
			cs.log.Info("certificate read again", "file", cs.certFile)
		}
	}
	return cs.cert, nil
}
