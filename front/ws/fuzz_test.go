package ws

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/gobwas/ws"

	"github.com/homing/homing/front/http1"
)

// FuzzDecoder feeds a stream at once and cut at random: both must mean the
// same, hold no more than has arrived, and agree with gobwas/ws.
func FuzzDecoder(f *testing.F) {
	for i, s := range streams {
		f.Add(bytes.Join(s.stream, nil), uint64(i), 4096)
	}
	for i, fr := range frames {
		if len(fr.payload) < 200 {
			f.Add(clientFrame(fr.head[0], fr.payload), uint64(i), len(fr.payload))
		}
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, limit int) {
		limit = min(max(limit, 0), 1<<20)
		atOnce, _, err := decode(stream, limit)
		want := show(atOnce, err)
		for name, cuts := range map[string][]int{"cut": cutAtRandom(len(stream), seed), "byte by byte": everyByte(len(stream))} {
			got, held, err := decode(stream, limit, cuts...)
			if out := show(got, err); out != want {
				t.Fatalf("%s at %v:\n got %s\nwant %s", name, cuts, out, want)
			}
			if most := int(unsafe.Sizeof(partial{})) + 2*len(stream) + 64; held > most {
				t.Fatalf("%d bytes held of %d", held, len(stream))
			}
		}
		if err != nil && CodeOf(err) == CloseInternalError {
			t.Fatalf("not a FrameError: %v", err)
		}
		theirs, violated := oracle(stream, limit)
		if errors.Is(err, ErrTextUTF8) { // seen before its message ends, and before a ping within it
			theirs = theirs[:min(len(theirs), len(atOnce))]
		}
		if show(atOnce, nil) != show(theirs, nil) || err == nil && violated {
			t.Fatalf("got %s\ngobwas %s, violated: %v", want, show(theirs, nil), violated)
		}
	})
}

func cutAtRandom(n int, seed uint64) []int {
	rng := rand.New(rand.NewPCG(seed, 2))
	var cuts []int
	for i := 0; i < n; {
		i = min(n, i+rng.IntN(12))
		cuts = append(cuts, i)
	}
	return cuts
}

// oracle reads a whole stream with gobwas/ws's header parser and checks, in the
// plainest way. violated says that the stream breaks the protocol; one that
// just ends does not.
func oracle(stream []byte, limit int) (got []Message, violated bool) {
	var open *Message
	for r := bytes.NewReader(stream); r.Len() > 0; {
		state := ws.StateServerSide
		if open != nil {
			state = state.Set(ws.StateFragmented)
		}
		before := r.Len()
		h, err := ws.ReadHeader(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return got, false
		}
		if err != nil || ws.CheckHeader(h, state) != nil || !h.OpCode.IsControl() && h.Length > int64(limit) ||
			before-r.Len() != ws.HeaderSize(h) { // it does not ask for the shortest form
			return got, true
		}
		if h.Length > int64(r.Len()) {
			return got, false
		}
		payload := make([]byte, h.Length)
		_, _ = r.Read(payload)
		ws.Cipher(payload, h.Mask, 0)
		switch {
		case h.OpCode == ws.OpClose:
			msg, err := parseClose(payload)
			if err != nil {
				return got, true
			}
			return append(got, msg), false
		case h.OpCode.IsControl():
			got = append(got, Message{Op: OpCode(h.OpCode), Payload: payload})
			continue
		case open == nil:
			open = &Message{Op: OpCode(h.OpCode)}
		}
		open.Payload = append(open.Payload, payload...)
		if len(open.Payload) > limit {
			return got, true
		}
		if h.Fin {
			if open.Op == OpText && !utf8.Valid(open.Payload) {
				return got, true
			}
			got, open = append(got, *open), nil
		}
	}
	return got, false
}

// FuzzUpgrade checks that what we take for a handshake, gobwas/ws does.
func FuzzUpgrade(f *testing.F) {
	for _, c := range requests {
		f.Add([]byte(c.request))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		req, n, err := http1.ParseRequest(in)
		if err == nil {
			agreesWithUpgrader(t, req, in[:n])
		}
	})
}

func agreesWithUpgrader(t *testing.T, req *http1.Request, head []byte) {
	t.Helper()
	offered, bad := Subprotocols(req)
	for _, protocol := range append([]string{""}, offered...) {
		reply, err := Accept(req, protocol)
		if check := errors.Join(CheckUpgrade(req), bad); (check == nil) != (err == nil) {
			t.Fatalf("CheckUpgrade %v, Accept(%q) %v\n%q", check, protocol, err, head)
		}
		if err != nil {
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(reply)), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols ||
			resp.Header.Get("Sec-Websocket-Protocol") != protocol || resp.Header.Get("Sec-Websocket-Extensions") != "" {
			t.Fatalf("%v, reply %q", err, reply)
		}
	}
}
