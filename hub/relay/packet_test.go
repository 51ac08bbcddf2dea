package relay

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

var comparePackets = cmp.AllowUnexported(packet{}, span{}, reply{})

func packets() []packet {
	from := hub.NewProcessID()
	return []packet{
		{kind: kindData, from: from, sent: time.UnixMicro(0), seq: 1, lowest: 1, body: []byte{}},
		{kind: kindData, from: from, sent: time.UnixMicro(1_790_000_000_000_000), seq: 1<<64 - 1, lowest: 7, wants: true, body: []byte("body")},
		{kind: kindAck, from: from, sent: time.UnixMicro(5), handled: 3, next: 9, missing: []span{{9, 2}, {15, 1}}, replies: []reply{{2, []byte("yes")}, {8, []byte{}}}},
		{kind: kindAck, from: from, sent: time.UnixMicro(5), handled: 9, next: 9},
		{kind: kindCanary, from: from, sent: time.UnixMicro(5), nonce: 77},
		{kind: kindAsk, from: from, sent: time.UnixMicro(5), nonce: 78},
		{kind: kindHere, from: from, sent: time.UnixMicro(5), nonce: 78, mark: 1<<64 - 1},
		{kind: kindGrant, from: from, sent: time.UnixMicro(5), mark: 3, dead: true},
		{kind: kindGrant, from: from, sent: time.UnixMicro(5), mark: 3},
	}
}

func TestPacketRoundTrip(t *testing.T) {
	for _, p := range packets() {
		b := p.append(nil)
		if p.kind == kindData && len(b) > maxHeader+len(p.body) {
			t.Errorf("header of %d bytes, want at most %d", len(b)-len(p.body), maxHeader)
		}
		got, err := parsePacket(b)
		if err != nil {
			t.Fatalf("parsePacket(%x): %v", b, err)
		}
		if d := cmp.Diff(p, got, comparePackets); d != "" {
			t.Errorf("round trip (-want +got):\n%s", d)
		}
	}
}

func TestParsePacketRefuses(t *testing.T) {
	from := hub.NewProcessID()
	wire := func(p packet) []byte { p.from, p.sent = from, time.UnixMicro(1); return p.append(nil) }
	data := wire(packet{kind: kindData, seq: 7, lowest: 7})
	badSender := append([]byte(nil), data...)
	badSender[3] = ' '
	for name, b := range map[string][]byte{
		"nothing":                          nil,
		"another version":                  append([]byte{9}, data[1:]...),
		"another kind":                     wire(packet{kind: 9}),
		"a short sender":                   data[:9],
		"a bad sender":                     badSender,
		"no time":                          data[:13],
		"no sequence":                      data[:14],
		"a lowest number that is too high": wire(packet{kind: kindData, seq: 7, lowest: 8}),
		"no lowest number":                 wire(packet{kind: kindData, seq: 7}),
		"more than arrived":                wire(packet{kind: kindAck, handled: 8, next: 7}),
		"too many gaps":                    wire(packet{kind: kindAck, missing: make([]span, maxSpans+1)}),
		"a reply too long":                 wire(packet{kind: kindAck, replies: []reply{{1, make([]byte, MaxReply+1)}}}),
		"bytes left over":                  append(wire(packet{kind: kindAck}), 0),
		"a canary cut short":               wire(packet{kind: kindCanary, nonce: 1 << 40})[:16],
		"a canary and a half":              append(wire(packet{kind: kindCanary}), 0),
	} {
		if p, err := parsePacket(b); !errors.Is(err, ErrBadPacket) {
			t.Errorf("%s: got %+v, %v; want ErrBadPacket", name, p, err)
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	for _, p := range packets() {
		f.Add(p.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		again, err := parsePacket(p.append(nil))
		if err != nil {
			t.Fatalf("what was parsed does not parse again: %v", err)
		}
		if d := cmp.Diff(p, again, comparePackets); d != "" {
			t.Fatalf("parsed twice, two packets (-first +second):\n%s", d)
		}
	})
}
