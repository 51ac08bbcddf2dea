package tlsconn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// clientHello is the first flight of crypto/tls's own client.
func clientHello(tb testing.TB) []byte {
	tb.Helper()
	var w capture
	_ = tls.Client(&w, &tls.Config{ServerName: "game.example.com"}).Handshake()
	return w.Bytes()
}

// capture is a connection that keeps what is written and has nothing to read.
type capture struct {
	net.Conn
	bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) { return c.Buffer.Write(p) }
func (c *capture) Read([]byte) (int, error)    { return 0, net.ErrClosed }
func (c *capture) Close() error                { return nil }

// inRecords spreads a handshake message over records of n bytes.
func inRecords(message []byte, n int) (out []byte) {
	for len(message) > 0 {
		k := min(n, len(message))
		out = append(out, recordHandshake, protocolMajor, 1, byte(k>>8), byte(k))
		out = append(out, message[:k]...)
		message = message[k:]
	}
	return out
}

// wholeHello adds b in one piece.
func wholeHello(b []byte) (bool, error) { return new(hello).add(b) }

// TestEachRecordOfAHelloIsLookedAtOnce adds byte after byte of a ClientHello in
// very many records.
func TestEachRecordOfAHelloIsLookedAtOnce(t *testing.T) {
	whole := inRecords(clientHello(t)[recordHeader:], 1)
	var h hello
	for i := range whole {
		ok, err := h.add(whole[i : i+1])
		if ok != (i == len(whole)-1) || err != nil {
			t.Fatalf("with byte %d of %d: %v, %v", i, len(whole), ok, err)
		}
		if rest := len(h.bytes) - h.at; rest > recordHeader+1 {
			t.Fatalf("with byte %d, %d are looked at again", i, rest)
		}
	}
}

func TestWholeHello(t *testing.T) {
	hello := clientHello(t)
	message := hello[recordHeader:]
	for name, whole := range map[string][]byte{
		"one record":      hello,
		"records of 1":    inRecords(message, 1),
		"records of 3":    inRecords(message, 3),
		"records of 1000": inRecords(message, 1000),
	} {
		for n := range whole {
			if ok, err := wholeHello(whole[:n]); ok || err != nil {
				t.Fatalf("%s: %d of %d bytes: %v, %v", name, n, len(whole), ok, err)
			}
		}
		if ok, err := wholeHello(whole); !ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if ok, err := wholeHello(append(bytes.Clone(whole), "more"...)); !ok || err != nil {
			t.Errorf("%s with more behind it: %v, %v", name, ok, err)
		}
	}
	for _, bad := range []string{
		"G", "GET / HTTP/1.1\r\n\r\n",
		"\x80\x2e\x01\x03\x01",                 // SSLv2
		"\x15\x03\x01\x00\x02\x02\x28",         // an alert
		"\x16\x03\x01\x00\x00",                 // an empty record
		"\x16\x03\x01\xff\xff",                 // too long a record
		"\x16\x03\x01\x00\x04\x02\x00\x00\x00", // a ServerHello
	} {
		if ok, err := wholeHello([]byte(bad)); ok || !errors.Is(err, ErrNotTLS) {
			t.Errorf("%q: %v, %v", bad, ok, err)
		}
	}
}

// What is a ClientHello does not depend on how it arrives, and records are
// counted the same.
func FuzzHello(f *testing.F) {
	f.Add(clientHello(f), 7)
	f.Add(inRecords(clientHello(f)[recordHeader:], 2), 1)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		data = data[:min(len(data), 700)]
		first := -1
		for n := range len(data) + 1 {
			ok, err := wholeHello(data[:n])
			if ok && err != nil {
				t.Fatalf("whole and wrong: %v", err)
			}
			if ok && first < 0 {
				first = n
			}
			if first >= 0 && !ok {
				t.Fatalf("whole with %d bytes, not with %d", first, n)
			}
		}
		var h hello
		for n, k := 0, min(max(1, step), 700); n < len(data); n += k {
			k := min(k, len(data)-n)
			ok, err := h.add(data[n : n+k])
			if want, wrong := wholeHello(data[:n+k]); ok != want || !errors.Is(err, wrong) {
				t.Fatalf("%d bytes in parts: %v, %v; at once: %v, %v", n+k, ok, err, want, wrong)
			}
			if err != nil {
				break
			}
		}
		var all, parts records
		want, got := all.count(data), 0
		for rest := data; len(rest) > 0; {
			n := min(max(1, step), len(rest))
			got += parts.count(rest[:n])
			rest = rest[n:]
		}
		if got != want || all != parts {
			t.Fatalf("%d records in parts, %d at once", got, want)
		}
	})
}
