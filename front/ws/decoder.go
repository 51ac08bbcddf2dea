package ws

// OpCode says what a frame or message is (RFC 6455 §5.2).
type OpCode uint8

// The opcodes.
const (
	OpContinuation OpCode = 0x0
	OpText         OpCode = 0x1
	OpBinary       OpCode = 0x2
	OpClose        OpCode = 0x8
	OpPing         OpCode = 0x9
	OpPong         OpCode = 0xA
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
	part *partial
}

type partial struct{}

// Next takes the bytes just read and returns the first message or control
// frame that they complete, with the bytes that follow it, to be given to the
// next call. A message with Op 0 says that all of p is used up and more must
// be read. p is overwritten (unmasked in place).
//
// limit caps a message's payload in bytes, over all its fragments; it is
// checked before anything is kept, and memory grows with the bytes that have
// arrived, not with what a header claims.
//
// The error is a *FrameError; after it, or after an OpClose, the connection
// must be closed and the Decoder not used again.
func (d *Decoder) Next(p []byte, limit int) (msg Message, rest []byte, err error) {
	return Message{}, nil, nil
}

// Pending is the number of bytes held for an incomplete frame or message.
func (d *Decoder) Pending() int { return 0 }
