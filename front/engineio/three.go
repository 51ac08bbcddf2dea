package engineio

import (
	"encoding/base64"
	"errors"
	"strconv"
	"unicode/utf8"
)

// Version3 is Engine.IO 3, as clients of Socket.IO 2 speak it
// (https://github.com/socketio/engine.io-protocol/tree/v3). Its packets are those of
// version 4, but that the client sends Ping and the server Pong, that a binary packet
// begins with its type as a number, and that payloads are put together in another way.
const Version3 = "3"

// In payloads that are binary, each packet says first which it is.
const (
	textPacket   = 0
	binaryPacket = 1
	// lengthEnd stands behind the length, whose digits are the numbers from 0 to 9.
	lengthEnd = 0xff
)

// maxDigits is how many a length has at most.
const maxDigits = 9

var errLength = errors.New("a packet that is not as long as it says")

// ParseText3 is ParseText of version 3, which also has binary packets in base64.
func ParseText3(b []byte) (Packet, error) {
	switch {
	case len(b) == 0 || b[0] != binaryMark:
		return ParseText(b)
	case len(b) == 1 || b[1] != byte(Message):
		return Packet{}, errType
	}
	return parseBase64(b[2:])
}

// ParseBinary3 reads the packet that a binary frame is. Its Data is a part of b.
func ParseBinary3(b []byte) (Packet, error) {
	switch {
	case len(b) == 0:
		return Packet{}, errEmpty
	case b[0] != byte(Message-Open):
		return Packet{}, errType
	}
	return Packet{Type: Message, Binary: true, Data: b[1:]}, nil
}

// AppendBinary3 appends what a binary frame has of a packet with data.
func AppendBinary3(b, data []byte) []byte { return append(append(b, byte(Message-Open)), data...) }

// IsBinary3 reports whether a payload is binary: it goes over HTTP as octets then,
// else as text.
func IsBinary3(payload []byte) bool { return len(payload) > 0 && payload[0] <= binaryPacket }

// Next3 is Next of version 3. Each packet says itself whether it is binary, is text in
// a binary payload, or is one of a text payload, whose lengths count UTF-16 units.
func Next3(payload []byte) (p Packet, rest []byte, err error) {
	if len(payload) == 0 {
		return p, nil, errEmpty
	}
	var packet []byte
	parse := ParseText3
	if IsBinary3(payload) {
		packet, rest, err = cutBytes(payload[1:])
		if payload[0] == binaryPacket {
			parse = ParseBinary3
		}
	} else {
		packet, rest, err = cutUnits(payload)
	}
	if err != nil {
		return p, nil, err
	}
	if len(rest) == 0 {
		rest = nil
	}
	p, err = parse(packet)
	return p, rest, err
}

// cutBytes cuts off a packet of a binary payload.
func cutBytes(b []byte) (packet, rest []byte, err error) {
	n, digits := 0, 0
	for digits < len(b) && digits <= maxDigits && b[digits] <= 9 {
		n = 10*n + int(b[digits])
		digits++
	}
	if digits == 0 || digits > maxDigits || digits == len(b) || b[digits] != lengthEnd || n > len(b)-digits-1 {
		return nil, nil, errLength
	}
	b = b[digits+1:]
	return b[:n], b[n:], nil
}

// cutUnits cuts off a packet of a text payload.
func cutUnits(b []byte) (packet, rest []byte, err error) {
	n, digits := 0, 0
	for digits < len(b) && digits <= maxDigits && '0' <= b[digits] && b[digits] <= '9' {
		n = 10*n + int(b[digits]-'0')
		digits++
	}
	if digits == 0 || digits > maxDigits || digits == len(b) || b[digits] != ':' {
		return nil, nil, errLength
	}
	b = b[digits+1:]
	end := 0
	for n > 0 && end < len(b) {
		r, size := utf8.DecodeRune(b[end:])
		end += size
		n -= units(r)
	}
	if n != 0 {
		return nil, nil, errLength
	}
	return b[:end], b[end:], nil
}

// units is how many UTF-16 units r takes. What is no UTF-8 counts as one, as for
// JavaScript.
func units(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// AppendPayload3 appends a payload. octets says that the client takes binary ones;
// else, and when no packet is binary, it is text.
func AppendPayload3(b []byte, packets []Packet, octets bool) []byte {
	binary := false
	for _, p := range packets {
		binary = binary || octets && p.Binary
	}
	var one []byte
	for _, p := range packets {
		switch one = one[:0]; {
		case binary && p.Binary:
			one = AppendBinary3(one, p.Data)
			b = append(appendLength(append(b, binaryPacket), len(one)), one...)
		case binary:
			b = append(appendLength(append(b, textPacket), 1+len(p.Data)), byte(p.Type))
			b = append(b, p.Data...)
		default:
			if one = append(one, byte(p.Type)); p.Binary {
				one = base64.StdEncoding.AppendEncode(append(one[:0], binaryMark, byte(Message)), p.Data)
			} else {
				one = append(one, p.Data...)
			}
			b = append(strconv.AppendInt(b, int64(countUnits(one)), 10), ':')
			b = append(b, one...)
		}
	}
	return b
}

// countUnits is how many UTF-16 units text has.
func countUnits(text []byte) (n int) {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		n += units(r)
		text = text[size:]
	}
	return n
}

// appendLength appends a length as a binary payload has it.
func appendLength(b []byte, n int) []byte {
	from := len(b)
	b = strconv.AppendInt(b, int64(n), 10)
	for i := from; i < len(b); i++ {
		b[i] -= '0'
	}
	return append(b, lengthEnd)
}
