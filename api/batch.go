package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/homing/homing/api/apikey"
)

// batchBuffer is how much of a batch is read at a time, and written at most
// between two flushes.
const batchBuffer = 32 << 10

// errLineTooLong marks a line that was skipped for its length.
var errLineTooLong = errors.New("line too long")

// batch is one POST /notify/batch on its way. All fields belong to the
// handler's goroutine.
type batch struct {
	*Server

	ctrl *http.ResponseController
	in   *bufio.Reader
	out  *bufio.Writer
	line []byte // the present line; reused
	no   int    // its number, from 1
}

// postBatch reads notifications, one per line, and writes one line for each,
// in order: a reply or a problem, with the line's number. Lines are sent one
// after the other, so that a user hears them in order. Empty lines count but
// get no answer. Answers are flushed whenever the server would wait for input.
func (s *Server) postBatch(w http.ResponseWriter, r *http.Request) error {
	if err := checkMediaType(r, "application/x-ndjson"); err != nil {
		return err
	}
	b := &batch{
		Server: s,
		ctrl:   http.NewResponseController(w),
		in:     bufio.NewReaderSize(r.Body, batchBuffer),
		out:    bufio.NewWriterSize(w, batchBuffer),
	}
	// HTTP/2 is always so and says that it is not supported.
	if err := b.ctrl.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = b.ctrl.Flush() // some callers send the first line only after the reply's header
	if b.run(r.Context()) != nil || b.flush() != nil {
		panic(http.ErrAbortHandler) // answers are missing: the reply must not end as if it were whole
	}
	return nil
}

// run goes through the lines until the input ends or cannot be read further.
// It returns an error only when the caller has gone.
func (b *batch) run(ctx context.Context) error {
	for {
		err := b.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errGone):
			return err
		case errors.Is(err, errLineTooLong):
			b.refuse(tooLarge(b.cfg.BodyLimit))
			continue
		case err != nil:
			b.refuse(asError(bodyError(err, b.cfg.BodyLimit)))
			return nil
		}
		if len(bytes.TrimSpace(b.line)) == 0 {
			continue
		}
		if b.closing.Load() {
			b.refuse(&Error{Code: CodeUnavailable, Detail: "shutting down: send this line and the rest again"})
			return nil
		}
		if b.no > b.cfg.BatchLines {
			b.refuse(refuse(CodeTooManyLines, "over %d lines", b.cfg.BatchLines))
			return nil
		}
		if err := b.serve(ctx); err != nil {
			return err
		}
	}
}

// serve sends the present line and writes its result. It returns an error
// only when the caller has gone.
func (b *batch) serve(ctx context.Context) error {
	key := caller(ctx)
	if err := b.pace(ctx, key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	reply, replayed, err := b.accept(ctx, key, b.notifyOperation(), b.line)
	if err != nil && gone(ctx, err) {
		return err
	}
	if err != nil {
		b.refuse(b.explain(ctx, err))
		return nil
	}
	b.reply(reply, replayed)
	return nil
}

// pace counts the line against the key's rate and waits while it is used up:
// a batch is slowed where single requests are refused.
func (b *batch) pace(ctx context.Context, key *apikey.Key) error {
	if key.Take(time.Now()) == 0 {
		return nil
	}
	if err := b.flush(); err != nil {
		return err
	}
	return key.Wait(ctx)
}

// reply writes a JSON object with the line's number put in front.
func (b *batch) reply(object []byte, replayed bool) {
	head := append(make([]byte, 0, 64), `{"line":`...)
	head = strconv.AppendInt(head, int64(b.no), 10)
	if replayed {
		head = append(head, `,"replayed":true`...)
	}
	head = append(head, ',')
	b.write(append(append(head, object[1:]...), '\n'))
}

func (b *batch) refuse(e *Error) {
	b.metrics.refused.WithLabelValues(string(e.Code)).Inc()
	p := e.problem()
	p.Line = b.no
	b.write(append(mustJSON(p), '\n'))
}

// write takes one line of the answer. It flushes by itself before the buffer
// would, because only flush gives the reader its time.
func (b *batch) write(line []byte) {
	if b.out.Available() < len(line) {
		_ = b.flush() // a bufio.Writer keeps its first error for the next flush
	}
	_, _ = b.out.Write(line)
}

// errGone marks a caller that no longer reads.
var errGone = errors.New("caller gone")

// next reads the next line into b.line, without its end. It is io.EOF after
// the last line, which needs no newline. Before it waits for more input, it
// flushes what was answered.
func (b *batch) next() error {
	b.no++
	b.line = b.line[:0]
	tooLong := false
	for {
		part, err := b.read()
		if tooLong = tooLong || len(b.line)+len(part) > b.cfg.BodyLimit+1; !tooLong {
			b.line = append(b.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return errLineTooLong
		case errors.Is(err, io.EOF) && len(b.line) > 0:
			return nil
		}
		b.line = bytes.TrimSuffix(b.line, []byte("\n"))
		return err
	}
}

// read returns what is here of a line, as ReadSlice does. When that means to
// wait for the caller, it flushes the answers first.
func (b *batch) read() ([]byte, error) {
	held, _ := b.in.Peek(b.in.Buffered())
	if bytes.IndexByte(held, '\n') >= 0 || len(held) == batchBuffer {
		return b.in.ReadSlice('\n')
	}
	if err := b.flush(); err != nil {
		return nil, errGone
	}
	if err := b.extend(b.ctrl.SetReadDeadline); err != nil {
		return nil, errGone
	}
	part, err := b.in.ReadSlice('\n')
	// After the end of the body net/http goes on reading, to learn when the
	// caller goes. A deadline left behind would look like that.
	_ = b.ctrl.SetReadDeadline(time.Time{})
	return part, err
}

func (b *batch) flush() error {
	if b.out.Buffered() == 0 {
		return nil
	}
	if err := b.extend(b.ctrl.SetWriteDeadline); err != nil {
		return err
	}
	if err := b.out.Flush(); err != nil {
		return err
	}
	return b.ctrl.Flush()
}

// extend moves a deadline: a batch may last, but not stand still.
func (b *batch) extend(set func(time.Time) error) error {
	if err := set(time.Now().Add(b.cfg.BatchIdle)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
