package http1

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"testing"
)

// FuzzParseRequest checks that what we accept, net/http reads the same way.
func FuzzParseRequest(f *testing.F) {
	for _, c := range requests {
		f.Add([]byte(c.request))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		req, n, err := ParseRequest(in)
		if err != nil {
			_, refused := errors.AsType[*Error](err)
			if req != nil || n != 0 || refused == errors.Is(err, ErrIncomplete) {
				t.Fatalf("%v, %d, %v", req, n, err)
			}
			return
		}
		if n > len(in) || !bytes.HasSuffix(in[:n], []byte("\r\n\r\n")) || req.Path == "" {
			t.Fatalf("%d bytes of %d, path %q", n, len(in), req.Path)
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:n])))
		if err == nil && (theirs.Method != req.Method || theirs.Host != req.Host || theirs.URL.RawQuery != req.RawQuery ||
			cmp.Or(theirs.URL.Path, "/") != req.Path || theirs.Header.Get("Origin") != req.Origin) {
			t.Fatalf("we read %+v\nnet/http %+v", req, theirs)
		}
	})
}
