package ws

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

const testLimit = 1 << 20

// decode feeds stream to a fresh Decoder in pieces that end at the given
// offsets, and returns what it yields.
func decode(stream []byte, limit int, cuts ...int) (got []Message, held int, err error) {
	var d Decoder
	from := 0
	for _, to := range append(cuts, len(stream)) {
		rest := bytes.Clone(stream[from:to])
		from = to
		for len(rest) > 0 {
			var msg Message
			msg, rest, err = d.Next(rest, limit)
			if err != nil {
				return got, held, err
			}
			if msg.Op == 0 {
				break
			}
			msg.Payload = bytes.Clone(msg.Payload)
			got = append(got, msg)
			if msg.Op == OpClose {
				return got, held, nil
			}
		}
		if len(rest) > 0 {
			return got, held, errors.New("no message, and bytes left over")
		}
		held = max(held, d.Pending())
	}
	return got, held, nil
}

// show renders messages for comparison.
func show(got []Message, err error) string {
	var b strings.Builder
	for _, m := range got {
		fmt.Fprintf(&b, "%x:%d:%q ", m.Op, m.Code, m.Payload)
	}
	if err != nil {
		fmt.Fprintf(&b, "error: %v", err)
	}
	return b.String()
}

// everyByte cuts a stream of n bytes after each byte.
func everyByte(n int) []int {
	cuts := make([]int, 0, n)
	for i := 1; i < n; i++ {
		cuts = append(cuts, i)
	}
	return cuts
}

func TestClientFrames(t *testing.T) {
	for _, f := range frames {
		stream := clientFrame(f.head[0], f.payload)
		for name, cuts := range map[string][]int{
			"at once": nil, "in two": {len(stream) / 2}, "header alone": {min(len(stream), 6)}, "byte by byte": everyByte(len(stream)),
		} {
			got, _, err := decode(stream, testLimit, cuts...)
			if err != nil || len(got) != 1 || got[0].Op != f.op || string(got[0].Payload) != f.payload {
				t.Errorf("%s, %s: %.100s", f.name, name, show(got, err))
			}
		}
	}
}

// streams are sequences of client frames with what they mean, by show.
var streams = []struct {
	name   string
	stream [][]byte
	want   string
}{
	{"two at once", [][]byte{text("a"), text("b")}, `1:0:"a" 1:0:"b" `},
	{
		"fragments",
		[][]byte{clientFrame(0x01, "Hel"), clientFrame(0x00, "lo "), clientFrame(0x80, "you"), text("next")},
		`1:0:"Hello you" 1:0:"next" `,
	},
	{"empty fragments", [][]byte{clientFrame(0x02, ""), clientFrame(0x00, ""), clientFrame(0x80, "")}, `2:0:"" `},
	{
		"control frames between fragments",
		[][]byte{clientFrame(0x01, "a"), clientFrame(0x89, "ping"), clientFrame(0x00, "b"), clientFrame(0x8a, ""), clientFrame(0x80, "c")},
		`9:0:"ping" a:0:"" 1:0:"abc" `,
	},
	{"a character across fragments", [][]byte{clientFrame(0x01, "\xf0\x9f"), clientFrame(0x89, "\xff"), clientFrame(0x80, "\x8e\xae")}, `9:0:"\xff" 1:0:"🎮" `},
	{"a close between fragments", [][]byte{clientFrame(0x01, "a"), clientFrame(0x88, "\x03\xe9bye")}, `8:1001:"bye" `},
	{"an empty close", [][]byte{clientFrame(0x88, ""), text("ignored")}, `8:1005:"" `},
	{"a close with a code", [][]byte{clientFrame(0x88, "\x03\xe8")}, `8:1000:"" `},
	{"a close of an application", [][]byte{clientFrame(0x88, "\x13\x87é")}, `8:4999:"é" `},

	{"reserved bit", [][]byte{text("a"), clientFrame(0xc1, "compressed")}, `1:0:"a" error: reserved bits set without an extension`},
	{"reserved opcode", [][]byte{clientFrame(0x83, "")}, `error: reserved opcode`},
	{"reserved control opcode", [][]byte{clientFrame(0x8b, "")}, `error: reserved opcode`},
	{"unmasked", [][]byte{Frame(OpText, []byte("a"))}, `error: client frame not masked`},
	{"fragmented ping", [][]byte{clientFrame(0x09, "a")}, `error: control frame fragmented`},
	{"long ping", [][]byte{clientFrame(0x89, strings.Repeat("a", 126))}, `error: control frame longer than 125 bytes`},
	{"continuation of nothing", [][]byte{clientFrame(0x80, "a")}, `error: continuation without a message`},
	{"continuation after the end", [][]byte{clientFrame(0x01, "a"), clientFrame(0x80, "b"), clientFrame(0x80, "c")}, `1:0:"ab" error: continuation without a message`},
	{"message within a message", [][]byte{clientFrame(0x01, "a"), text("b")}, `error: new message before the last one ended`},
	{"16-bit length of 125", [][]byte{{0x82, 0xfe, 0, 125, 0, 0, 0, 0}}, `error: payload length not in its shortest form or above 63 bits`},
	{"64-bit length of 65535", [][]byte{{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}}, `error: payload length not in its shortest form or above 63 bits`},
	{"length above 63 bits", [][]byte{{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, `error: payload length not in its shortest form or above 63 bits`},
	{"largest length", [][]byte{{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}}, `error: message too big`},
	{"text not UTF-8", [][]byte{text("a\xffb")}, `error: text not UTF-8`},
	{"text cut within a character", [][]byte{text("a\xe4\xb8")}, `error: text not UTF-8`},
	{"fragments cut within a character", [][]byte{clientFrame(0x01, "a\xe4"), clientFrame(0x80, "\xb8")}, `error: text not UTF-8`},
	{"surrogate across fragments", [][]byte{clientFrame(0x01, "\xed"), clientFrame(0x00, "\xa0\x80")}, `error: text not UTF-8`},
	{"not UTF-8 in the first fragment", [][]byte{clientFrame(0x01, "\xc0\xaf")}, `error: text not UTF-8`},
	{"close of one byte", [][]byte{clientFrame(0x88, "\x03")}, `error: close payload of one byte`},
	{"close reason not UTF-8", [][]byte{clientFrame(0x88, "\x03\xe8\xff")}, `error: close reason not UTF-8`},
}

func TestStreams(t *testing.T) {
	for _, s := range streams {
		stream := bytes.Join(s.stream, nil)
		for name, cuts := range map[string][]int{"at once": nil, "byte by byte": everyByte(len(stream)), "in two": {len(stream) / 2}} {
			got, _, err := decode(stream, testLimit, cuts...)
			if out := show(got, err); out != s.want {
				t.Errorf("%s, %s:\n got %s\nwant %s", s.name, name, out, s.want)
			}
		}
	}
}

func TestCloseCodes(t *testing.T) {
	valid := []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		_, err := parseClose([]byte{byte(code >> 8), byte(code)})
		if !errors.Is(err, ErrCloseCode) {
			t.Errorf("%d: %v, want it refused", code, err)
		}
	}
	for _, code := range valid {
		msg, err := parseClose([]byte{byte(code >> 8), byte(code)})
		if err != nil || int(msg.Code) != code {
			t.Errorf("%d: %d, %v", code, msg.Code, err)
		}
	}
}

func TestErrorsCarryTheirCloseCode(t *testing.T) {
	for err, want := range map[error]CloseCode{
		ErrUnmasked: 1002, ErrTextUTF8: 1007, ErrTooBig: 1009,
		fmt.Errorf("read: %w", ErrTooBig): 1009, errors.New("other"): 1011,
	} {
		if got := CodeOf(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestLimitCountsAllFragments(t *testing.T) {
	ten := strings.Repeat("x", 10)
	for _, c := range []struct {
		name   string
		limit  int
		stream [][]byte
		want   error
	}{
		{"at the limit", 10, [][]byte{text(ten)}, nil},
		{"above it", 9, [][]byte{text(ten)}, ErrTooBig},
		{"nothing allowed", 0, [][]byte{text("x")}, ErrTooBig},
		{"nothing allowed, nothing sent", 0, [][]byte{text("")}, nil},
		{"fragments at the limit", 20, [][]byte{clientFrame(0x01, ten), clientFrame(0x80, ten)}, nil},
		{"fragments above it", 19, [][]byte{clientFrame(0x01, ten), clientFrame(0x80, ten)}, ErrTooBig},
		{"control frames do not count", 10, [][]byte{clientFrame(0x01, ten), clientFrame(0x89, ten), clientFrame(0x80, "")}, nil},
	} {
		stream := bytes.Join(c.stream, nil)
		for _, cuts := range [][]int{nil, everyByte(len(stream))} {
			if _, _, err := decode(stream, c.limit, cuts...); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	}
}

// TestMemoryFollowsWhatArrived claims much and sends little.
func TestMemoryFollowsWhatArrived(t *testing.T) {
	var d Decoder
	if size := unsafe.Sizeof(d); size > 8 {
		t.Errorf("an idle Decoder is %d bytes", size)
	}
	base := int(unsafe.Sizeof(partial{}))
	head := []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4} // claims 1 MiB
	if _, _, err := d.Next(append(bytes.Clone(head), 'x'), testLimit); err != nil || d.Pending() > base+64 {
		t.Errorf("a claim of 1 MiB with one byte holds %d bytes, %v", d.Pending(), err)
	}
	for range 1000 {
		if _, _, err := d.Next([]byte("0123456789"), testLimit); err != nil {
			t.Fatal(err)
		}
	}
	if d.Pending() > base+2*10_001 {
		t.Errorf("10,001 bytes hold %d", d.Pending())
	}

	d = Decoder{}
	for range 3 {
		if _, _, err := d.Next(clientFrame(0x01, ""), testLimit); err != nil {
			t.Fatal(err)
		}
		for range 10_000 { // empty fragments without end
			if _, _, err := d.Next(clientFrame(0x00, ""), testLimit); err != nil || d.Pending() > base {
				t.Fatal(d.Pending(), err)
			}
		}
		if msg, _, err := d.Next(clientFrame(0x80, ""), testLimit); msg.Op != OpText || err != nil || d.Pending() != 0 {
			t.Fatalf("%+v, %v, %d bytes held", msg, err, d.Pending())
		}
	}
}

func TestNextOfNothing(t *testing.T) {
	var d Decoder
	if msg, rest, err := d.Next(nil, testLimit); msg.Op != 0 || rest != nil || err != nil || d.Pending() != 0 {
		t.Errorf("%+v, %v, %v", msg, rest, err)
	}
}

func TestWholeFramesDoNotAllocate(t *testing.T) {
	for _, f := range frames {
		stream := slices.Concat(clientFrame(f.head[0], f.payload), clientFrame(f.head[0], f.payload))
		buf := make([]byte, len(stream))
		var d Decoder
		if n := testing.AllocsPerRun(20, func() {
			rest := buf[:copy(buf, stream)]
			for len(rest) > 0 {
				var err error
				if _, rest, err = d.Next(rest, testLimit); err != nil {
					t.Fatal(err)
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", f.name, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, size := range []int{40, 200, 2000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			frame := text(strings.Repeat("a", size))
			buf := make([]byte, len(frame))
			var d Decoder
			b.ReportAllocs()
			for b.Loop() {
				if msg, _, err := d.Next(buf[:copy(buf, frame)], testLimit); msg.Op == 0 || err != nil {
					b.Fatal(msg, err)
				}
			}
		})
	}
}
