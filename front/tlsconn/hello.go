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

// hello is the ClientHello that is arriving. Each record of it is looked at once
// it is whole, and then not again: they may be as small as one byte. The zero
// hello is ready.
type hello struct {
	bytes []byte // what came so far
	at    int    // where the first record begins that is not whole
	have  int    // bytes of the message in the records before that
	head  [messageHeader]byte
}

// add takes the next bytes and reports whether the ClientHello is complete,
// which may be spread over several records.
func (h *hello) add(data []byte) (whole bool, err error) {
	h.bytes = append(h.bytes, data...)
	for {
		b := h.bytes[h.at:]
		if len(b) > 0 && b[0] != recordHandshake {
			return false, ErrNotTLS
		}
		if len(b) < recordHeader {
			return false, nil
		}
		n := int(b[recordLengthHigh])<<8 | int(b[recordLengthLow])
		if b[1] != protocolMajor || n == 0 || n > maxRecord {
			return false, ErrNotTLS
		}
		record := b[:min(len(b), recordHeader+n)]
		if whole, err = h.holds(record[recordHeader:]); whole || err != nil {
			return whole, err
		}
		if len(record) < recordHeader+n {
			return false, nil
		}
		h.at += len(record)
		h.have += n
	}
}

// holds reports whether the message is complete with the next part of it.
func (h *hello) holds(part []byte) (bool, error) {
	if h.have < messageHeader {
		copy(h.head[h.have:], part)
	}
	have := h.have + len(part)
	if have < messageHeader {
		return false, nil
	}
	if h.head[0] != messageHello {
		return false, ErrNotTLS
	}
	return have >= messageHeader+(int(h.head[1])<<16|int(h.head[2])<<8|int(h.head[3])), nil
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
