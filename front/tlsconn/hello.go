package tlsconn

import "errors"

// The parts of a record and of a handshake message (RFC 8446 §4 and §5.1).
const (
	recordHeader     = 5
	recordHandshake  = 22
	messageHeader    = 4
	messageHello     = 1
	maxRecord        = 1 << 14 // bytes of an unprotected record
	protocolMajor    = 3
	recordLengthHigh = 3
	recordLengthLow  = 4
)

// ErrNotTLS says that a connection did not begin with a TLS ClientHello.
var ErrNotTLS = errors.New("the first bytes are not a TLS ClientHello")

// wholeHello reports whether b, the first bytes of a connection, holds a
// complete ClientHello, which may be spread over several records.
func wholeHello(b []byte) (bool, error) {
	need, have := messageHeader, 0 // bytes of the message
	var header [messageHeader]byte
	for len(b) >= recordHeader {
		n := int(b[recordLengthHigh])<<8 | int(b[recordLengthLow])
		if b[0] != recordHandshake || b[1] != protocolMajor || n == 0 || n > maxRecord {
			return false, ErrNotTLS
		}
		fragment := b[recordHeader:min(len(b), recordHeader+n)]
		if have < messageHeader {
			copy(header[have:], fragment)
		}
		have += len(fragment)
		if have >= messageHeader {
			if header[0] != messageHello {
				return false, ErrNotTLS
			}
			need = messageHeader + (int(header[1])<<16 | int(header[2])<<8 | int(header[3]))
		}
		if have >= need && have >= messageHeader {
			return true, nil
		}
		if len(b) < recordHeader+n {
			return false, nil
		}
		b = b[recordHeader+n:]
	}
	if len(b) > 0 && b[0] != recordHandshake {
		return false, ErrNotTLS
	}
	return false, nil
}

// records counts the records of a stream by their headers.
type records struct {
	header [recordHeader]byte
	have   int // bytes of header
	skip   int // bytes of the record's payload that have not come
}

// count takes the next bytes of the stream and returns how many records begin
// in them.
func (r *records) count(b []byte) (n int) {
	for len(b) > 0 {
		if r.skip > 0 {
			k := min(r.skip, len(b))
			r.skip -= k
			b = b[k:]
			continue
		}
		k := copy(r.header[r.have:], b)
		r.have += k
		b = b[k:]
		if r.have == recordHeader {
			r.have = 0
			r.skip = int(r.header[recordLengthHigh])<<8 | int(r.header[recordLengthLow])
			n++
		}
	}
	return n
}
