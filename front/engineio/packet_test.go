package engineio

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// payloads are those of the protocol's description and of its test suite.
var payloads = []struct {
	payload string
	packets []Packet
}{
	{"4hello", []Packet{{Type: Message, Data: []byte("hello")}}},
	{"4hello\x1e2\x1e4world", []Packet{{Type: Message, Data: []byte("hello")}, {Type: Ping}, {Type: Message, Data: []byte("world")}}},
	{"4€", []Packet{{Type: Message, Data: []byte("€")}}},
	{"4hello\x1ebAQIDBA==", []Packet{{Type: Message, Data: []byte("hello")}, {Type: Message, Binary: true, Data: []byte{1, 2, 3, 4}}}},
	{"b", []Packet{{Type: Message, Binary: true}}},
	{"1", []Packet{{Type: Close}}},
	{"2probe", []Packet{{Type: Ping, Data: []byte("probe")}}},
	{"5", []Packet{{Type: Upgrade}}},
	{"6", []Packet{{Type: Noop}}},
}

func read(payload []byte) (packets []Packet, err error) {
	for rest := payload; rest != nil || len(packets) == 0; {
		var p Packet
		if p, rest, err = Next(rest); err != nil {
			return nil, err
		}
		packets = append(packets, p)
	}
	return packets, nil
}

func write(packets []Packet) (b []byte) {
	for i, p := range packets {
		if i > 0 {
			b = append(b, Separator)
		}
		b = AppendPacket(b, p)
	}
	return b
}

func equal(a, b []Packet) bool {
	same := len(a) == len(b)
	for i := range a {
		same = same && i < len(b) && a[i].Type == b[i].Type && a[i].Binary == b[i].Binary && bytes.Equal(a[i].Data, b[i].Data)
	}
	return same
}

func TestPayloads(t *testing.T) {
	for _, c := range payloads {
		got, err := read([]byte(c.payload))
		if err != nil || !equal(got, c.packets) {
			t.Errorf("%q: %v, %v", c.payload, got, err)
		}
		if back := write(c.packets); string(back) != c.payload {
			t.Errorf("%q was written as %q", c.payload, back)
		}
	}
	for payload, want := range map[string]error{
		"": errEmpty, "abc": errType, "7": errType, "4a\x1e": errEmpty, "\x1e4a": errEmpty, "4a\x1e\x1e4b": errEmpty,
		"bA": errBase64, "b_-==": errBase64, "/": errType,
	} {
		if got, err := read([]byte(payload)); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", payload, got, err, want)
		}
	}
}

func TestHandshake(t *testing.T) {
	h := Handshake{SID: "lv_VI97HAXpY6yYWAAAC", Upgrades: true, PingInterval: 25 * time.Second, PingTimeout: 20 * time.Second, MaxPayload: 1_000_000}
	const want = `0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	if got := h.Bytes(); string(got) != want {
		t.Errorf("%s", got)
	}
	h.Upgrades = false
	if got := h.Bytes(); !bytes.Contains(got, []byte(`"upgrades":[]`)) {
		t.Errorf("%s", got)
	}
	if got := ErrSession.Bytes(); string(got) != `{"code":1,"message":"Session ID unknown"}` {
		t.Errorf("%s", got)
	}
}

func FuzzPayload(f *testing.F) {
	for _, c := range payloads {
		f.Add([]byte(c.payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		packets, err := read(payload)
		if err != nil {
			return
		}
		again, err := read(write(packets))
		if err != nil || !equal(packets, again) {
			t.Errorf("%q: %v, and then %v, %v", payload, packets, again, err)
		}
	})
}
