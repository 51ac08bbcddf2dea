package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/api/admit"
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

const (
	// forgoTime is how long the rest of a body may take that nobody wants,
	// before the connection ends, and skipTime how long one before the
	// connection serves the next request.
	forgoTime = 200 * time.Millisecond
	skipTime  = time.Second
)

// forgo ends the connection with the reply: the body is not worth reading.
// net/http would wait for it as long as the request might take.
func forgo(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(forgoTime))
}

// skip lets the connection serve on when the body, which is not looked at,
// comes at once.
func skip(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(skipTime))
	}
}

// bodyStep is how much room is made for a body at first. A header may promise
// any length: memory is taken as the bytes come.
const bodyStep = 16 << 10

// readBody reads a JSON body of up to limit bytes, and has pass hold them. A
// length that the header gives is checked before anything is read. The caller
// releases the buffer, also after an error.
func readBody(w http.ResponseWriter, r *http.Request, into *bytes.Buffer, limit int, pass *admit.Pass) error {
	if err := checkMediaType(r, "application/json"); err != nil {
		return err
	}
	if r.ContentLength > int64(limit) {
		forgo(w, r)
		return tooLarge(limit)
	}
	from := http.MaxBytesReader(w, r.Body, int64(limit))
	for {
		room := int64(max(bodyStep, into.Len()))
		if r.ContentLength >= 0 {
			room = min(room, r.ContentLength-int64(into.Len()))
		}
		if err := pass.Hold(room); err != nil {
			forgo(w, r)
			return err
		}
		into.Grow(int(room) + bytes.MinRead)
		_, err := io.CopyN(into, from, room)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return bodyError(err, limit)
		case int64(into.Len()) == r.ContentLength:
			return nil
		}
	}
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

// read reads the body of a request, which costs so much beside it, into v, whose
// values share no memory with it.
func (g *gate) read(w http.ResponseWriter, r *http.Request, v any, cost int) error {
	body := bodies.Get().(*bytes.Buffer)
	defer releaseBody(body)
	if err := g.takeBody(w, r, body); err != nil {
		return err
	}
	if err := g.payRest(caller(r.Context()), body.Len(), cost); err != nil {
		return err
	}
	return decode(bytes.Clone(body.Bytes()), v)
}
