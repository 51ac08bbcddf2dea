package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// Message is what one process sends another: a body that the relay does not
// read, after a header that says which life of which process sent it, and its
// place in the sequence from that sender to this receiver.
//
// Wire form, version 1:
//
//	version  one byte
//	sender   hub.ProcessIDLen bytes
//	seq      unsigned varint, from 1, per sender and receiver
//	sent     unsigned varint, Unix time in microseconds, by the sender's clock
//	body     the rest
type Message struct {
	From hub.ProcessID
	Seq  uint64
	Sent time.Time
	Body []byte
}

const messageVersion = 1

// maxHeader bounds the header's length in bytes.
const maxHeader = 1 + hub.ProcessIDLen + 2*binary.MaxVarintLen64

// ErrBadMessage marks bytes that are not a message of a known version.
var ErrBadMessage = errors.New("bad relay message")

// Append appends m's wire form to dst and returns the extended slice.
func (m *Message) Append(dst []byte) []byte {
	dst = append(dst, messageVersion)
	dst = append(dst, m.From...)
	dst = binary.AppendUvarint(dst, m.Seq)
	dst = binary.AppendUvarint(dst, uint64(max(0, m.Sent.UnixMicro())))
	return append(dst, m.Body...)
}

// ParseMessage reads the wire form of one message. Body is a view of b. Every
// error wraps ErrBadMessage.
func ParseMessage(b []byte) (Message, error) {
	const fixed = 1 + hub.ProcessIDLen
	if len(b) < fixed || b[0] != messageVersion {
		return Message{}, fmt.Errorf("%w: %d bytes, want version %d", ErrBadMessage, len(b), messageVersion)
	}
	m := Message{From: hub.ProcessID(b[1:fixed])}
	if err := m.From.Check(); err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrBadMessage, err)
	}
	rest := b[fixed:]
	seq, n := binary.Uvarint(rest)
	if n <= 0 || seq == 0 {
		return Message{}, fmt.Errorf("%w: no sequence number", ErrBadMessage)
	}
	rest = rest[n:]
	sent, n := binary.Uvarint(rest)
	if n <= 0 || sent > 1<<62 {
		return Message{}, fmt.Errorf("%w: no time", ErrBadMessage)
	}
	m.Seq, m.Sent, m.Body = seq, time.UnixMicro(int64(sent)), rest[n:]
	return m, nil
}
