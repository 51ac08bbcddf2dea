package socket

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSource(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")}
	loopback, other := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("10.0.0.1:80")
	for _, c := range []struct {
		own  []netip.Addr
		to   netip.AddrPort
		i    int
		want string
	}{
		{nil, loopback, 0, "127.0.0.2"},
		{nil, loopback, portsPerSource - 1, "127.0.0.2"},
		{nil, loopback, portsPerSource, "127.0.0.3"},
		{own, other, 0, "10.0.0.5"},
		{own, other, 1, "10.0.0.6"},
		{own, other, 2, "10.0.0.5"},
	} {
		if got := Source(c.own, c.to, c.i); got.String() != c.want {
			t.Errorf("client %d of %v to %v comes from %v, want %s", c.i, c.own, c.to, got, c.want)
		}
	}
	if got := Source(nil, other, 5); got.IsValid() {
		t.Errorf("to another machine from %v, want the kernel's choice", got)
	}
}

func TestParseLengths(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536} {
		whole := ws.MustCompileFrame(ws.NewTextFrame(make([]byte, size)))
		for cut := range len(whole) {
			if cut > 12 && cut < len(whole)-2 {
				continue
			}
			if _, n, err := Parse(whole[:cut]); n != 0 || err != nil {
				t.Fatalf("%d bytes of a frame of %d: %d, %v", cut, size, n, err)
			}
		}
		f, n, err := Parse(append(whole, 0x81))
		if err != nil || n != len(whole) || len(f.Payload) != size || f.Op != ws.OpText {
			t.Fatalf("frame of %d: %d bytes, %v", size, n, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x81, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := Parse(b)
		if err == nil && (n > len(b) || len(fr.Payload) > n) {
			t.Fatalf("frame of %d bytes in %d", n, len(b))
		}
	})
}

// TestMaskedFramesAreRead holds what we send to how a server reads it.
func TestMaskedFramesAreRead(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte{'p'}, size)
		sent := AppendMasked([]byte("before"), ws.OpBinary, [4]byte{1, 2, 3, 4}, payload)
		r := bytes.NewReader(sent[len("before"):])
		h, err := ws.ReadHeader(r)
		if err != nil || !h.Masked || h.OpCode != ws.OpBinary || !h.Fin || h.Length != int64(size) || r.Len() != size {
			t.Fatalf("%d bytes: %+v, %v, %d follow", size, h, err, r.Len())
		}
		read := sent[len(sent)-size:]
		ws.Cipher(read, h.Mask, 0)
		if !bytes.Equal(read, payload) {
			t.Errorf("%d bytes: another payload is read", size)
		}
	}
}

func TestUpgrade(t *testing.T) {
	got := string(AppendUpgrade(nil, "host:1", "/ws?a=b", "p1"))
	for _, want := range []string{"GET /ws?a=b HTTP/1.1\r\n", "Host: host:1\r\n", "Sec-WebSocket-Protocol: p1\r\n\r\n"} {
		if !bytes.Contains([]byte(got), []byte(want)) {
			t.Errorf("%q has no %q", got, want)
		}
	}
	answer := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	for cut := range answer {
		if _, rest, whole := ReadHead([]byte(answer[:cut])); whole || len(rest) != cut {
			t.Fatalf("%d bytes are whole: %v, %q", cut, whole, rest)
		}
	}
	head, rest, whole := ReadHead([]byte(answer + "more"))
	if !whole || string(rest) != "more" || !Switched(head) {
		t.Errorf("%q, %q, %v", head, rest, whole)
	}
	for _, bad := range []string{"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"} {
		if Switched([]byte(bad)) {
			t.Errorf("%q is agreed to", bad)
		}
	}
}
