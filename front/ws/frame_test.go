package ws

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// frames are well-formed frames, as their bytes stand on the wire from a
// client with mask 01 02 03 04; the read and the write tests share them.
var frames = []struct {
	name    string
	op      OpCode
	payload string
	head    []byte // of the server's frame
}{
	{"empty text", OpText, "", []byte{0x81, 0}},
	{"text", OpText, "Hello", []byte{0x81, 5}},
	{"text beyond ASCII", OpText, "Grüße, 世界 🎮", []byte{0x81, 20}},
	{"binary", OpBinary, "\x00\xff\xfe", []byte{0x82, 3}},
	{"longest short form", OpBinary, strings.Repeat("a", 125), []byte{0x82, 125}},
	{"shortest 16-bit form", OpBinary, strings.Repeat("b", 126), []byte{0x82, 126, 0, 126}},
	{"longest 16-bit form", OpText, strings.Repeat("c", 65535), []byte{0x81, 126, 0xff, 0xff}},
	{"shortest 64-bit form", OpBinary, strings.Repeat("d", 65536), []byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
	{"ping", OpPing, "are you there", []byte{0x89, 13}},
	{"empty ping", OpPing, "", []byte{0x89, 0}},
	{"longest pong", OpPong, strings.Repeat("p", 125), []byte{0x8a, 125}},
}

var testMask = [4]byte{1, 2, 3, 4}

// clientFrame builds a masked frame. The tests of what is refused bend it.
func clientFrame(first byte, payload string) []byte {
	b := AppendFrame(nil, 0, []byte(payload))
	head := len(b) - len(payload)
	b[0] = first
	b[1] |= bitMask
	out := append(append(bytes.Clone(b[:head]), testMask[:]...), payload...)
	ws.Cipher(out[head+4:], testMask, 0)
	return out
}

const fin = bitFin

func text(s string) []byte { return clientFrame(fin|byte(OpText), s) }

func TestServerFrames(t *testing.T) {
	for _, f := range frames {
		got := AppendFrame([]byte("before"), f.op, []byte(f.payload))
		want := "before" + string(f.head) + f.payload
		if string(got) != want {
			t.Errorf("%s: got % x", f.name, got[:min(len(got), 20)])
		}
		if n := FrameSize(len(f.payload)); n != len(want)-len("before") || len(Frame(f.op, []byte(f.payload))) != n {
			t.Errorf("%s: FrameSize %d, want %d", f.name, n, len(want)-len("before"))
		}
		r := bytes.NewReader(got[len("before"):])
		theirs, err := ws.ReadHeader(r)
		if err != nil || ws.CheckHeader(theirs, ws.StateClientSide) != nil || OpCode(theirs.OpCode) != f.op || int(theirs.Length) != r.Len() {
			t.Errorf("%s: another implementation reads %+v, %v", f.name, theirs, err)
		}
	}
}

func TestFrameIsOneAllocation(t *testing.T) {
	payload := make([]byte, 300)
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { dst = AppendFrame(dst[:0], OpText, payload) }); n != 0 {
		t.Errorf("AppendFrame with room: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { dst = Frame(OpText, payload) }); n != 1 {
		t.Errorf("Frame: %v allocations", n)
	}
}

func TestCloseFrames(t *testing.T) {
	for _, c := range []struct {
		code   CloseCode
		reason string
		want   string
	}{
		{CloseNormal, "", "\x88\x02\x03\xe8"},
		{CloseServiceRestart, "come back", "\x88\x0b\x03\xf4come back"},
		{CloseNoStatus, "not said", "\x88\x00"},
		{4000, strings.Repeat("x", 200), "\x88\x7d\x0f\xa0" + strings.Repeat("x", 123)},
		{4000, strings.Repeat("x", 122) + "é", "\x88\x7c\x0f\xa0" + strings.Repeat("x", 122)},
		{4000, strings.Repeat("x", 121) + "é", "\x88\x7d\x0f\xa0" + strings.Repeat("x", 121) + "é"},
	} {
		if got := string(CloseFrame(c.code, c.reason)); got != c.want {
			t.Errorf("CloseFrame(%d, %.10q): got %q", c.code, c.reason, got)
		}
	}
	if f := CloseFrame(4000, strings.Repeat("\x80", 200)); len(f) > 2+MaxControl || !utf8.Valid(f[4:]) {
		t.Errorf("a reason that is not UTF-8: %q", f)
	}
}

// TestHeaderChecksAgreeWithAnOracle tries all first two bytes, with each length
// form, against gobwas/ws.
func TestHeaderChecksAgreeWithAnOracle(t *testing.T) {
	for first := range 256 {
		for second := range 256 {
			p := []byte{byte(first), byte(second), 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7}
			switch byte(second) & bitsLen {
			case len16:
				binary.BigEndian.PutUint16(p[2:], 500)
			case len64:
				binary.BigEndian.PutUint64(p[2:], 70000)
			}
			h, n, err := parseHeader(p)
			r := bytes.NewReader(p)
			theirs, readErr := ws.ReadHeader(r)
			state := ws.StateServerSide
			if theirs.OpCode == ws.OpContinuation {
				state = state.Set(ws.StateFragmented)
			}
			want := ws.CheckHeader(theirs, state)
			if readErr != nil || (err == nil) != (want == nil) {
				t.Fatalf("% x: %v, the oracle says %v %v", p[:2], err, want, readErr)
			}
			if err != nil {
				continue
			}
			if left, _ := io.ReadAll(r); n != len(p)-len(left) || h.length != theirs.Length ||
				h.mask != theirs.Mask || byte(h.op) != byte(theirs.OpCode) || h.fin != theirs.Fin {
				t.Fatalf("% x: %+v of %d bytes, the oracle says %+v", p, h, n, theirs)
			}
		}
	}
}
