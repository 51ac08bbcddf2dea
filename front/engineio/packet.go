package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// Version is the protocol's, as clients name it in the query: EIO=4.
const Version = "4"

// Type says what a packet is. It is the byte that a text packet begins with.
type Type byte

// The types.
const (
	Open    Type = '0'
	Close   Type = '1'
	Ping    Type = '2'
	Pong    Type = '3'
	Message Type = '4'
	Upgrade Type = '5'
	Noop    Type = '6'
)

// Probe is the data of the Ping and the Pong with which a client tries a WebSocket
// before it upgrades to it.
const Probe = "probe"

// Packet is one packet. Data is what follows the type: UTF-8, or any bytes in a
// binary one, which is a Message always.
type Packet struct {
	Type   Type
	Binary bool
	Data   []byte
}

var (
	errEmpty  = errors.New("an empty packet")
	errType   = errors.New("an unknown type of packet")
	errBase64 = errors.New("a binary packet that is not base64")
)

// ParseText reads the packet that a text frame, or a part of a payload, is. Its Data is
// a part of b, that of a binary packet, in base64, has memory of its own.
func ParseText(b []byte) (Packet, error) {
	switch {
	case len(b) == 0:
		return Packet{}, errEmpty
	case b[0] == binaryMark:
		return parseBase64(b[1:])
	case b[0] < byte(Open) || b[0] > byte(Noop):
		return Packet{}, errType
	}
	return Packet{Type: Type(b[0]), Data: b[1:]}, nil
}

// binaryMark is what a binary packet begins with in text, before its data in base64.
const binaryMark = 'b'

func parseBase64(b []byte) (Packet, error) {
	data, err := base64.StdEncoding.AppendDecode(nil, b)
	if err != nil {
		return Packet{}, errBase64
	}
	return Packet{Type: Message, Binary: true, Data: data}, nil
}

// ParseBinary reads the packet that a binary frame is: its data, and nothing else.
func ParseBinary(b []byte) (Packet, error) {
	return Packet{Type: Message, Binary: true, Data: b}, nil
}

// Separator stands between the packets of a payload.
const Separator = 0x1e

// Next reads the first packet of a payload, and returns what follows it; nil: it
// was the last one. The Data of a text packet is a part of payload, that of a
// binary one has memory of its own.
func Next(payload []byte) (p Packet, rest []byte, err error) {
	first, rest, more := bytes.Cut(payload, []byte{Separator})
	if !more {
		rest = nil
	}
	p, err = ParseText(first)
	return p, rest, err
}

// AppendPacket appends p as it stands in a payload. Separators are the caller's.
func AppendPacket(b []byte, p Packet) []byte {
	if p.Binary {
		return base64.StdEncoding.AppendEncode(append(b, binaryMark), p.Data)
	}
	return append(append(b, byte(p.Type)), p.Data...)
}
