package relay

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

func TestMessageRoundTrip(t *testing.T) {
	for _, m := range []Message{
		{From: hub.NewProcessID(), Seq: 1, Sent: time.UnixMicro(0), Body: []byte{}},
		{From: hub.NewProcessID(), Seq: 1<<64 - 1, Sent: time.UnixMicro(1_790_000_000_000_000), Body: []byte("body")},
	} {
		b := m.Append(nil)
		if len(b) > maxHeader+len(m.Body) {
			t.Errorf("header of %d bytes, want at most %d", len(b)-len(m.Body), maxHeader)
		}
		got, err := ParseMessage(b)
		if err != nil {
			t.Fatalf("ParseMessage(%x): %v", b, err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("round trip (-want +got):\n%s", d)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	good := (&Message{From: hub.NewProcessID(), Seq: 7, Sent: time.Now(), Body: []byte("x")}).Append(nil)
	badSender := append([]byte(nil), good...)
	badSender[3] = ' '
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"another version": append([]byte{9}, good[1:]...),
		"a short sender":  good[:8],
		"a bad sender":    badSender,
		"no sequence":     good[:12],
		"sequence zero":   append(append([]byte(nil), good[:12]...), 0, 1),
		"no time":         good[:13],
		"a time too far":  append(append([]byte(nil), good[:13]...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
	} {
		if m, err := ParseMessage(b); !errors.Is(err, ErrBadMessage) {
			t.Errorf("%s: got %+v, %v; want ErrBadMessage", name, m, err)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	f.Add((&Message{From: hub.NewProcessID(), Seq: 300, Sent: time.Now(), Body: []byte("body")}).Append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again, err := ParseMessage(m.Append(nil))
		if err != nil {
			t.Fatalf("what was parsed does not parse again: %v", err)
		}
		if d := cmp.Diff(m, again); d != "" {
			t.Fatalf("parsed twice, two messages (-first +second):\n%s", d)
		}
	})
}
