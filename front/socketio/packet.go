package socketio

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Type says what a packet is. It is the byte that the packet begins with.
type Type byte

// The types.
const (
	Connect      Type = '0'
	Disconnect   Type = '1'
	Event        Type = '2'
	Ack          Type = '3'
	ConnectError Type = '4'
	BinaryEvent  Type = '5'
	BinaryAck    Type = '6'
)

const (
	// MaxAttachments is how many binary messages may belong to one packet.
	MaxAttachments = 10
	// maxNamespace is how long the name of a namespace may be, in bytes.
	maxNamespace = 256
	// maxID is how many digits an id has at most: those that JavaScript counts to.
	maxID = 16
)

// MainNamespace is what a packet belongs to that names no namespace.
const MainNamespace = "/"

// Packet is one packet.
type Packet struct {
	Type        Type
	Namespace   string // begins with "/"
	ID          uint64 // of an event that wants an acknowledgement, or of that
	HasID       bool
	Data        jsontext.Value // empty: none
	Attachments int            // binary messages that belong to it

	// Binaries are the attachments. Parse leaves them out, see Decoder.
	Binaries [][]byte
}

// What is wrong with packets. Whoever sends one of these is not let go on.
var (
	errType        = errors.New("an unknown type of packet")
	errAttachments = errors.New("a wrong number of attachments")
	errNamespace   = errors.New("the name of a namespace is too long")
	errID          = errors.New("an id of an acknowledgement that is no number")
	errData        = errors.New("data that does not fit the type of packet")
	errPlaceholder = errors.New("a placeholder without an attachment")
)

// Parse reads a packet from what an Engine.IO message has. Its Data is a part of b.
func Parse(b []byte) (p Packet, err error) {
	if len(b) == 0 || b[0] < byte(Connect) || b[0] > byte(BinaryAck) {
		return p, errType
	}
	p.Type, b = Type(b[0]), b[1:]
	if p.IsBinary() {
		if b, err = p.takeAttachments(b); err != nil {
			return p, err
		}
	}
	if b, err = p.takeNamespace(b); err != nil {
		return p, err
	}
	if b, err = p.takeID(b); err != nil {
		return p, err
	}
	p.Data = jsontext.Value(b)
	return p, p.check()
}

// IsBinary reports whether attachments may belong to p.
func (p *Packet) IsBinary() bool { return p.Type == BinaryEvent || p.Type == BinaryAck }

func (p *Packet) takeAttachments(b []byte) (rest []byte, err error) {
	digits, rest, ok := bytes.Cut(b, []byte{'-'})
	n, err := strconv.ParseUint(string(digits), 10, 8)
	if !ok || err != nil || n > MaxAttachments {
		return nil, errAttachments
	}
	p.Attachments = int(n)
	return rest, nil
}

func (p *Packet) takeNamespace(b []byte) (rest []byte, err error) {
	p.Namespace = MainNamespace
	if len(b) == 0 || b[0] != '/' {
		return b, nil
	}
	name, rest, _ := bytes.Cut(b, []byte{','})
	if len(name) > maxNamespace {
		return nil, errNamespace
	}
	p.Namespace = string(name)
	return rest, nil
}

func (p *Packet) takeID(b []byte) (rest []byte, err error) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	switch {
	case n > maxID:
		return nil, errID
	case n > 0:
		p.ID, err = strconv.ParseUint(string(b[:n]), 10, 64)
		p.HasID = true
	}
	return b[n:], err
}

// check reports whether the data is what the type of packet has.
func (p *Packet) check() error {
	first := byte(0)
	if len(p.Data) > 0 {
		first = p.Data[0]
	}
	ok := false
	switch p.Type {
	case Connect:
		ok = first == 0 || first == '{'
	case Disconnect:
		ok = first == 0
	case Event, BinaryEvent:
		ok = first == '['
	case Ack, BinaryAck:
		if ok = first == '['; ok && !p.HasID {
			return errID
		}
	case ConnectError:
		ok = first == '{' || first == '"'
	}
	if !ok || first != 0 && !p.Data.IsValid() {
		return fmt.Errorf("%w %q", errData, rune(p.Type))
	}
	return nil
}

// Append appends p as it goes into an Engine.IO message. Its Binaries are to
// follow, each in a message of its own.
func (p *Packet) Append(b []byte) []byte {
	b = append(b, byte(p.Type))
	if p.IsBinary() {
		b = strconv.AppendInt(b, int64(len(p.Binaries)), 10)
		b = append(b, '-')
	}
	if p.Namespace != MainNamespace && p.Namespace != "" {
		b = append(b, p.Namespace...)
		b = append(b, ',')
	}
	if p.HasID {
		b = strconv.AppendUint(b, p.ID, 10)
	}
	return append(b, p.Data...)
}

// Placeholder is what stands in the data of a packet for its first attachment.
const Placeholder = `{"_placeholder":true,"num":0}`
