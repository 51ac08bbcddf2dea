package ws

import (
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"
)

// Message is one whole message or control frame from the client.
type Message struct {
	// Op is OpText, OpBinary, OpClose, OpPing or OpPong; 0 for no message.
	Op OpCode
	// Code is the status of an OpClose; CloseNoStatus when it carried none.
	Code CloseCode
	// Payload is the unmasked payload; of an OpClose, the reason. It is valid
	// until the bytes given to Next are overwritten or Next is called again.
	Payload []byte
}

// A Decoder reads the frames of one client. The zero Decoder is ready. It is
// one pointer in size and holds memory only while a frame or message is
// incomplete.
type Decoder struct {
	part *partial // nil between messages
}

// partial is a message, or a frame, that has not arrived whole. Each of its
// three parts may be empty: a control frame may arrive piece by piece between
// the fragments of a message.
type partial struct {
	stamp uint32 // see Decoder.Stamp

	// A header's first bytes.
	head    [maxHeader]byte
	headLen int

	// The frame whose payload is arriving.
	inFrame bool
	frame   frameHeader
	got     int    // bytes of its payload that have arrived
	control []byte // those bytes, if it is a control frame

	// The message that fragments add to.
	op    OpCode // OpText or OpBinary; 0 for none
	buf   []byte // its payload so far
	valid int    // how much of buf is known to be whole characters; OpText only
}

// Next takes the bytes just read and returns the first message or control
// frame that they complete, with the bytes that follow it, to be given to the
// next call. A message with Op 0 says that all of p is used up and more must
// be read. p is overwritten (unmasked in place). Text is checked to be UTF-8
// as it arrives.
//
// limit caps a message's payload in bytes, over all its fragments; it is
// checked before anything is kept, and memory grows with the bytes that have
// arrived, not with what a header claims. Control frames have their own limit.
//
// The error is a *FrameError; after it, or after an OpClose, the connection
// must be closed and the Decoder not used again.
//
// A frame that lies whole in p, as nearly all do, costs no allocation.
func (d *Decoder) Next(p []byte, limit int) (msg Message, rest []byte, err error) {
	if len(p) == 0 {
		return Message{}, nil, nil
	}
	if d.part == nil {
		msg, n, err := whole(p, limit)
		if err != nil {
			return Message{}, nil, err
		}
		if n > 0 {
			return msg, p[n:], nil
		}
		d.part = new(partial)
	}
	return d.assemble(p, limit)
}

// Pending is the memory kept for an incomplete frame or message, in bytes.
func (d *Decoder) Pending() int {
	if d.part == nil {
		return 0
	}
	return int(unsafe.Sizeof(*d.part)) + cap(d.part.buf) + cap(d.part.control)
}

// Stamp notes a time, in the caller's units and not 0, with the frame or message
// that has begun and not ended. It is forgotten with that.
func (d *Decoder) Stamp(now uint32) {
	if d.part != nil {
		d.part.stamp = now
	}
}

// Stamped returns what was noted with the frame or message that has begun and
// not ended; 0: nothing was, or there is none.
func (d *Decoder) Stamped() uint32 {
	if d.part == nil {
		return 0
	}
	return d.part.stamp
}

// whole reads an unfragmented frame that lies whole at the front of p. n is
// its length, or 0 when p begins with something else, which it leaves as it is.
func whole(p []byte, limit int) (msg Message, n int, err error) {
	h, start, err := parseHeader(p)
	if err != nil {
		return Message{}, 0, err
	}
	if start == 0 || !h.fin || h.op == OpContinuation || h.length > int64(len(p)-start) {
		return Message{}, 0, nil
	}
	if !h.op.isControl() && exceeds(0, h.length, limit) {
		return Message{}, 0, ErrTooBig
	}
	n = start + int(h.length)
	payload := p[start:n:n]
	ws.Cipher(payload, h.mask, 0)
	if h.op == OpClose {
		msg, err = parseClose(payload)
		return msg, n, err
	}
	if h.op == OpText && !utf8.Valid(payload) {
		return Message{}, 0, ErrTextUTF8
	}
	return Message{Op: h.op, Payload: payload}, n, nil
}

// exceeds reports whether more bytes on top of have are over limit.
func exceeds(have int, more int64, limit int) bool {
	return more > int64(max(0, limit-have))
}

// assemble reads frame after frame until one completes a message.
func (d *Decoder) assemble(p []byte, limit int) (Message, []byte, error) {
	part := d.part
	for {
		if !part.inFrame {
			n, err := part.takeHeader(p, limit)
			if err != nil {
				return Message{}, nil, err
			}
			p = p[n:]
		}
		if !part.inFrame {
			return Message{}, nil, nil
		}
		n, err := part.takePayload(p)
		if err != nil {
			return Message{}, nil, err
		}
		p = p[n:]
		if int64(part.got) < part.frame.length {
			return Message{}, nil, nil
		}
		msg, err := part.endFrame()
		if err != nil {
			return Message{}, nil, err
		}
		if part.op == 0 {
			d.part = nil
		}
		if msg.Op != 0 {
			return msg, p, nil
		}
	}
}

// takeHeader takes bytes from p until a header is whole, and then begins its
// frame if it may follow those before it (RFC 6455 §5.4). n is how many.
func (m *partial) takeHeader(p []byte, limit int) (n int, err error) {
	had := m.headLen
	m.headLen += copy(m.head[had:], p)
	h, size, err := parseHeader(m.head[:m.headLen])
	if err != nil {
		return 0, err
	}
	if size == 0 {
		return len(p), nil
	}
	switch {
	case h.op.isControl():
	case h.op == OpContinuation && m.op == 0:
		return 0, ErrNotStarted
	case h.op != OpContinuation && m.op != 0:
		return 0, ErrNotFinished
	case exceeds(len(m.buf), h.length, limit):
		return 0, ErrTooBig
	case h.op != OpContinuation:
		m.op = h.op
	}
	m.headLen, m.inFrame, m.frame, m.got = 0, true, h, 0
	return size - had, nil
}

// takePayload takes the bytes of p that belong to the frame. n is how many.
func (m *partial) takePayload(p []byte) (n int, err error) {
	p = p[:min(int64(len(p)), m.frame.length-int64(m.got))]
	ws.Cipher(p, m.frame.mask, m.got)
	m.got += len(p)
	if m.frame.op.isControl() {
		m.control = append(m.control, p...)
		return len(p), nil
	}
	m.buf = append(m.buf, p...)
	if m.op == OpText {
		valid, ok := utf8Prefix(m.buf[m.valid:])
		if !ok {
			return 0, ErrTextUTF8
		}
		m.valid += valid
	}
	return len(p), nil
}

// endFrame returns the message that the frame completes; one with Op 0 when
// it is a fragment and not the last.
func (m *partial) endFrame() (Message, error) {
	m.inFrame = false
	if m.frame.op.isControl() {
		payload := m.control
		m.control = nil
		if m.frame.op == OpClose {
			return parseClose(payload)
		}
		return Message{Op: m.frame.op, Payload: payload}, nil
	}
	if !m.frame.fin {
		return Message{}, nil
	}
	if m.op == OpText && m.valid < len(m.buf) {
		return Message{}, ErrTextUTF8
	}
	msg := Message{Op: m.op, Payload: m.buf}
	m.op, m.buf, m.valid = 0, nil, 0
	return msg, nil
}

// utf8Prefix returns how many bytes at the front of b are whole characters. ok
// is false when b cannot become UTF-8 whatever follows.
func utf8Prefix(b []byte) (n int, ok bool) {
	n = len(b)
	for i := n - 1; i >= max(0, n-utf8.UTFMax+1); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				n = i
			}
			break
		}
	}
	return n, utf8.Valid(b[:n])
}
