package clients

import (
	"slices"
	"testing"

	"github.com/gobwas/ws"
)

func TestStampRoundTrip(t *testing.T) {
	data := AppendData(nil, 1234567890123456789, 4294967295, 120)
	if len(data) != 120 {
		t.Errorf("%d bytes of data, want 120", len(data))
	}
	s, ok := parseStamp(slices.Concat([]byte(`{"t":"notify","id":"a","data":`), data, []byte("}")))
	if !ok || s.at != 1234567890123456789 || s.n != 4294967295 {
		t.Errorf("stamp = %+v, %v", s, ok)
	}
	for _, bad := range []string{"", `{"t":"notify"}`, `"data":{"at":12}`, `"data":{"at":`} {
		if _, ok := parseStamp([]byte(bad)); ok {
			t.Errorf("stamp found in %q", bad)
		}
	}
}

func TestParseFrameLengths(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		whole := ws.MustCompileFrame(ws.NewTextFrame(make([]byte, size)))
		for cut := range len(whole) {
			if cut > 12 && cut < len(whole)-2 {
				continue
			}
			if _, n, err := parseFrame(whole[:cut]); n != 0 || err != nil {
				t.Fatalf("%d bytes of a frame of %d: %d, %v", cut, size, n, err)
			}
		}
		f, n, err := parseFrame(append(whole, 0x81))
		if err != nil || n != len(whole) || len(f.payload) != size || f.op != ws.OpText {
			t.Fatalf("frame of %d: %d bytes, %v", size, n, err)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add([]byte{0x81, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := parseFrame(b)
		if err == nil && (n > len(b) || len(fr.payload) > n) {
			t.Fatalf("frame of %d bytes in %d", n, len(b))
		}
		parseStamp(b)
	})
}
