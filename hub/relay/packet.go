package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// kind says what a packet is. Its values are on the wire.
type kind uint8

const (
	kindData   kind = 1 // a message, numbered and kept until confirmed
	kindAck    kind = 2 // what the receiver of data has, and misses
	kindCanary kind = 3 // a probe that a process sends itself
	kindAsk    kind = 4 // do you live?
	kindHere   kind = 5 // I do
	kindGrant  kind = 6 // what came of that
)

// packet is what travels on a channel. Wire form, version 2; numbers are
// unsigned varints:
//
//	version kind          one byte each
//	sender                hub.ProcessIDLen bytes
//	sent                  Unix time in microseconds, by the sender's clock
//	data:   seq lowest wants  then the body: the rest
//	ack:    handled next     count {from length}…  count {seq len reply}…
//	canary: nonce
//	ask:    nonce
//	here:   nonce mark
//	grant:  mark dead
type packet struct {
	kind kind
	from hub.ProcessID
	sent time.Time

	// data
	seq    uint64 // from 1, per sender and receiver
	lowest uint64 // nothing below it will be sent again; at most seq
	wants  bool   // the sender waits for a reply
	body   []byte

	// ack
	handled uint64 // every message below it was handled or given up
	next    uint64 // every message below it has arrived
	missing []span // gaps above next, ascending; the first maxSpans of them
	replies []reply

	// canary, ask; here: of the question that it answers, 0: of none
	nonce uint64

	// here, grant
	mark uint64 // a moment of the receiver's own, which comes back to it
	dead bool   // it was declared dead
}

// span is a run of sequence numbers.
type span struct{ from, length uint64 }

// reply is what the handler of one message answered.
type reply struct {
	seq  uint64
	body []byte
}

const (
	packetVersion = 2
	// maxHeader bounds the length of a data packet's header in bytes.
	maxHeader = 3 + hub.ProcessIDLen + 3*binary.MaxVarintLen64
	// maxSpans bounds the gaps that one ack names; the others come with the next.
	maxSpans = 32
	// maxReplies and MaxReply bound the replies of one ack, in number and in
	// bytes each. As many are kept for a sender, to be told again; older ones go.
	maxReplies = 64
	// MaxReply is the most bytes that the reply to a message may have.
	MaxReply = 16 << 10
)

// ErrBadPacket marks bytes that are not a packet of a known version.
var ErrBadPacket = errors.New("bad relay packet")

// append appends p's wire form to dst and returns the extended slice.
func (p *packet) append(dst []byte) []byte {
	dst = append(dst, packetVersion, byte(p.kind))
	dst = append(dst, p.from...)
	dst = binary.AppendUvarint(dst, uint64(max(0, p.sent.UnixMicro())))
	switch p.kind {
	case kindData:
		dst = binary.AppendUvarint(dst, p.seq)
		dst = binary.AppendUvarint(dst, p.lowest)
		dst = append(dst, boolByte(p.wants))
		return append(dst, p.body...)
	case kindAck:
		dst = binary.AppendUvarint(dst, p.handled)
		dst = binary.AppendUvarint(dst, p.next)
		dst = binary.AppendUvarint(dst, uint64(len(p.missing)))
		for _, s := range p.missing {
			dst = binary.AppendUvarint(dst, s.from)
			dst = binary.AppendUvarint(dst, s.length)
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.replies)))
		for _, r := range p.replies {
			dst = binary.AppendUvarint(dst, r.seq)
			dst = binary.AppendUvarint(dst, uint64(len(r.body)))
			dst = append(dst, r.body...)
		}
	case kindCanary, kindAsk:
		dst = binary.AppendUvarint(dst, p.nonce)
	case kindHere:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, p.nonce), p.mark)
	case kindGrant:
		dst = append(binary.AppendUvarint(dst, p.mark), boolByte(p.dead))
	}
	return dst
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// parsePacket reads the wire form of one packet; body is a view of b. Every
// error wraps ErrBadPacket.
func parsePacket(b []byte) (packet, error) {
	const fixed = 2 + hub.ProcessIDLen
	if len(b) < fixed || b[0] != packetVersion {
		return packet{}, fmt.Errorf("%w: %d bytes, want version %d", ErrBadPacket, len(b), packetVersion)
	}
	p := packet{kind: kind(b[1]), from: hub.ProcessID(b[2:fixed])}
	if err := p.from.Check(); err != nil {
		return packet{}, fmt.Errorf("%w: %w", ErrBadPacket, err)
	}
	r := numbers{rest: b[fixed:]}
	p.sent = time.UnixMicro(int64(r.next(1 << 62))) //nolint:gosec // bounded
	switch p.kind {
	case kindData:
		p.seq = r.next(1<<64 - 1)
		p.lowest = r.next(p.seq)
		p.wants = r.next(1) == 1
		p.body = r.rest
		r.bad = r.bad || p.lowest == 0
	case kindAck:
		p.readAck(&r)
	case kindCanary, kindAsk, kindHere, kindGrant:
		p.readSign(&r)
	default:
		return packet{}, fmt.Errorf("%w: kind %d", ErrBadPacket, p.kind)
	}
	if r.bad {
		return packet{}, fmt.Errorf("%w: truncated, out of range, or with bytes left over", ErrBadPacket)
	}
	return p, nil
}

// readSign reads what is a matter of life, not of messages.
func (p *packet) readSign(r *numbers) {
	if p.kind != kindGrant {
		p.nonce = r.next(1<<64 - 1)
	}
	if p.kind == kindHere || p.kind == kindGrant {
		p.mark = r.next(1<<64 - 1)
	}
	if p.kind == kindGrant {
		p.dead = r.next(1) == 1
	}
	r.bad = r.bad || len(r.rest) != 0
}

func (p *packet) readAck(r *numbers) {
	p.handled = r.next(1<<64 - 1)
	p.next = r.next(1<<64 - 1)
	for range r.next(maxSpans) {
		p.missing = append(p.missing, span{from: r.next(1<<64 - 1), length: r.next(1 << 32)})
	}
	for range r.next(maxReplies) {
		p.replies = append(p.replies, reply{seq: r.next(1<<64 - 1), body: r.bytes(r.next(MaxReply))})
	}
	r.bad = r.bad || p.handled > p.next || len(r.rest) != 0
}

// numbers takes varints off a packet. After the first that does not fit it is
// bad and yields only zeros.
type numbers struct {
	rest []byte
	bad  bool
}

func (r *numbers) next(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > limit {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *numbers) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}
