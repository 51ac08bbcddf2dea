package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// bodies are buffers for request bodies, returned by whoever took one. Large
// ones are dropped so that one caller's big request does not stay in memory.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const pooledBody = 64 << 10

func releaseBody(b *bytes.Buffer) {
	if b.Cap() <= pooledBody {
		b.Reset()
		bodies.Put(b)
	}
}

// readBody reads a JSON body of up to limit bytes. A length that the header
// gives is checked before anything is read. The caller releases the buffer,
// also after an error.
func readBody(w http.ResponseWriter, r *http.Request, into *bytes.Buffer, limit int) error {
	if err := checkMediaType(r, "application/json"); err != nil {
		return err
	}
	if r.ContentLength > int64(limit) {
		w.Header().Set("Connection", "close") // what follows is not worth reading
		return tooLarge(limit)
	}
	if r.ContentLength > 0 {
		into.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := into.ReadFrom(http.MaxBytesReader(w, r.Body, int64(limit)))
	return bodyError(err, limit)
}

func tooLarge(limit int) *Error {
	return refuse(CodeBodyTooLarge, "over %d bytes", limit)
}

func bodyError(err error, limit int) error {
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &over):
		return tooLarge(limit)
	case isTimeout(err):
		return refuse(CodeBodyTimeout, "the body did not arrive in time")
	}
	return refuse(CodeBodyUnreadable, "read the body: %v", err)
}

// checkMediaType refuses a body of another type than want, in another
// encoding than UTF-8, or compressed.
func checkMediaType(r *http.Request, want string) error {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return refuse(CodeUnsupportedMediaType, "Content-Encoding %q, want none", truncate(enc, 64))
	}
	got := r.Header.Get("Content-Type")
	if got == want {
		return nil
	}
	media, params, err := mime.ParseMediaType(got)
	if err != nil || media != want {
		return refuse(CodeUnsupportedMediaType, "Content-Type %q, want %s", truncate(got, 64), want)
	}
	if cs, ok := params["charset"]; ok && !strings.EqualFold(cs, "utf-8") {
		return refuse(CodeUnsupportedMediaType, "charset %q, want utf-8", truncate(cs, 64))
	}
	return nil
}
