package tlsconn

import (
	"net"
	"time"
)

// transport is the net.Conn that crypto/tls reads ciphertext from and writes
// it to.
type transport struct {
	exchange *exchange // not nil while the handshake runs
	input    []byte    // ciphertext that has come
	buffers  *Buffers
}

// noInputError says that there is no ciphertext at the moment. To crypto/tls it is
// a temporary error: the connection can be read again.
type noInputError struct{}

func (noInputError) Error() string   { return "no ciphertext has come" }
func (noInputError) Timeout() bool   { return true }
func (noInputError) Temporary() bool { return true }

func (t *transport) Read(p []byte) (int, error) {
	if t.exchange != nil {
		return t.exchange.read(p)
	}
	if len(t.input) == 0 {
		return 0, noInputError{}
	}
	n := copy(p, t.input)
	t.input = t.input[n:]
	return n, nil
}

func (t *transport) Write(p []byte) (int, error) {
	if t.exchange != nil {
		return t.exchange.write(p)
	}
	t.buffers.out = append(t.buffers.out, p...)
	return len(p), nil
}

// The rest of net.Conn. The descriptor and its deadlines are the loop's.
func (t *transport) Close() error                     { return nil }
func (t *transport) LocalAddr() net.Addr              { return nil }
func (t *transport) RemoteAddr() net.Addr             { return nil }
func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
