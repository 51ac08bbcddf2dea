package engineio

import (
	"errors"
	"testing"
)

// payloads3 are those of the protocol's description and of its test suite.
var payloads3 = []struct {
	payload string
	octets  bool
	packets []Packet
}{
	{"6:4hello", false, []Packet{{Type: Message, Data: []byte("hello")}}},
	{"6:4hello2:4€", false, []Packet{{Type: Message, Data: []byte("hello")}, {Type: Message, Data: []byte("€")}}},
	{"3:4😀1:2", true, []Packet{{Type: Message, Data: []byte("😀")}, {Type: Ping}}},
	{"2:4€10:b4AQIDBA==", false, []Packet{{Type: Message, Data: []byte("€")}, {Type: Message, Binary: true, Data: []byte{1, 2, 3, 4}}}},
	{"\x00\x04\xff4€\x01\x05\xff\x04\x01\x02\x03\x04", true, []Packet{{Type: Message, Data: []byte("€")}, {Type: Message, Binary: true, Data: []byte{1, 2, 3, 4}}}},
	{"\x01\x01\x00\xff\x04\x01\x02\x03\x04\x05\x06\x07\x08\x09", true, []Packet{{Type: Message, Binary: true, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}}}},
	{"2:b4", false, []Packet{{Type: Message, Binary: true}}},
	{"1:1", false, []Packet{{Type: Close}}},
	{"1:6", true, []Packet{{Type: Noop}}},
}

func read3(payload []byte) (packets []Packet, err error) {
	for rest := payload; rest != nil || len(packets) == 0; {
		var p Packet
		if p, rest, err = Next3(rest); err != nil {
			return nil, err
		}
		packets = append(packets, p)
	}
	return packets, nil
}

func TestPayloads3(t *testing.T) {
	for _, c := range payloads3 {
		got, err := read3([]byte(c.payload))
		if err != nil || !equal(got, c.packets) {
			t.Errorf("%q: %v, %v", c.payload, got, err)
		}
		if back := AppendPayload3(nil, c.packets, c.octets); string(back) != c.payload {
			t.Errorf("%q was written as %q", c.payload, back)
		}
	}
	for payload, want := range map[string]error{
		"": errEmpty, "abc": errLength, "6:4hell": errLength, "5:4hello": errLength, ":4": errLength, "6": errLength,
		"0:": errEmpty, "-1:4": errLength, "1:7": errType, "2:4😀": errLength, "2:b3": errType, "3:b4*": errBase64,
		"9999999999:4": errLength, "1:41": errLength,
		"\x00\x01\xff": errLength, "\x00\xff4": errLength, "\x01\x01": errLength, "\x01\x01\xff\x03": errType,
		"\x01\x00\xff": errEmpty, "\x02\x01\xff4": errLength, "\x00\x0a\xff4": errLength,
		"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4": errLength,
	} {
		if got, err := read3([]byte(payload)); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", payload, got, err, want)
		}
	}
}

func TestFrames3(t *testing.T) {
	for text, want := range map[string]Packet{
		"4a": {Type: Message, Data: []byte("a")}, "2": {Type: Ping}, "2probe": {Type: Ping, Data: []byte("probe")},
		"b4AQ==": {Type: Message, Binary: true, Data: []byte{1}},
	} {
		if got, err := ParseText3([]byte(text)); err != nil || !equal([]Packet{got}, []Packet{want}) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	frame := AppendBinary3(nil, []byte{1, 2})
	if got, err := ParseBinary3(frame); string(frame) != "\x04\x01\x02" || err != nil || string(got.Data) != "\x01\x02" || !got.Binary {
		t.Errorf("%q: %v, %v", frame, got, err)
	}
	for _, frame := range []string{"", "\x03", "4a"} {
		if got, err := ParseBinary3([]byte(frame)); err == nil {
			t.Errorf("%q: %v", frame, got)
		}
	}
}

func FuzzPayload3(f *testing.F) {
	for _, c := range payloads3 {
		f.Add([]byte(c.payload), c.octets)
	}
	f.Fuzz(func(t *testing.T, payload []byte, octets bool) {
		packets, err := read3(payload)
		if err != nil {
			return
		}
		again, err := read3(AppendPayload3(nil, packets, octets))
		if err != nil || !equal(packets, again) {
			t.Errorf("%q: %v, and then %v, %v", payload, packets, again, err)
		}
	})
}
