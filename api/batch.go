package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/api/conns"
)

const (
	// batchBuffer is how much of a batch is read at a time, and written at most
	// between two flushes.
	batchBuffer = 16 << 10
	// batchMemory is what a batch holds whatever its lines are.
	batchMemory = 2 * batchBuffer
)

// skipError marks a line that was read over because of what it wraps.
type skipError struct{ error }

// batch is one POST /notify/batch on its way. All fields belong to the
// handler's goroutine.
type batch struct {
	*notifications

	key   *apikey.Key
	pass  *admit.Pass
	ctrl  *http.ResponseController
	in    *bufio.Reader
	out   *bufio.Writer
	line  []byte    // the present line; reused
	size  int       // its bytes, also of one that is not kept
	no    int       // its number, from 1
	until time.Time // when it must be there
}

// postBatch reads notifications, one per line, and writes one line for each,
// in order: a reply or a problem, with the line's number. Lines are sent one
// after the other, so that a user hears them in order. Empty lines count but
// get no answer. Answers are flushed whenever the server would wait for input.
// A batch works only while a line is decoded and sent; between lines it rests.
func (n *notifications) postBatch(w http.ResponseWriter, r *http.Request) error {
	if err := checkMediaType(r, "application/x-ndjson"); err != nil {
		return err
	}
	key, pass := caller(r.Context()), passOf(r.Context())
	if err := pass.Hold(batchMemory); err != nil {
		return n.gate.limited(key, err)
	}
	b := &batch{
		notifications: n,

		key:  key,
		pass: pass,
		ctrl: http.NewResponseController(w),
		in:   bufio.NewReaderSize(r.Body, batchBuffer),
		out:  bufio.NewWriterSize(w, batchBuffer),
	}
	// HTTP/2 is always so and says that it is not supported.
	if err := b.ctrl.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = b.ctrl.Flush() // some callers send the first line only after the reply's header
	whole, err := b.run(r.Context())
	if !whole {
		conns.HangUp(r)
	}
	if err != nil || b.flush() != nil {
		panic(http.ErrAbortHandler) // answers are missing: the reply must not end as if it were whole
	}
	return nil
}

// run goes through the lines until the input ends, which is the whole of it, or
// the batch is ended. It returns an error only when the caller has gone.
func (b *batch) run(ctx context.Context) (whole bool, err error) {
	for b.progress(); ; {
		err := b.next()
		var over skipError
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case errors.Is(err, errGone):
			return false, err
		case errors.As(err, &over):
		case isTimeout(err):
			b.refuse(refuse(CodeBatchIdle, "no line for %v", b.cfg.BatchIdle))
			return false, nil
		case err != nil:
			b.refuse(asError(bodyError(err, b.cfg.BodyLimit)))
			return false, nil
		}
		if b.no > b.cfg.BatchLines {
			b.refuse(refuse(CodeTooManyLines, "over %d lines", b.cfg.BatchLines))
			return false, nil
		}
		if over.error == nil && len(bytes.TrimSpace(b.line)) == 0 {
			continue
		}
		if b.closing.Load() {
			b.refuse(&Error{Code: CodeUnavailable, Detail: "shutting down: send this line and the rest again"})
			return false, nil
		}
		if err := b.revise(); err != nil {
			b.refuse(err)
			return false, nil
		}
		if err := b.serve(ctx, over.error); err != nil {
			return false, err
		}
		b.progress()
	}
}

// revise puts what the file of keys says now in force: a batch may last for days,
// and must not outlive its key.
func (b *batch) revise() *Error {
	if b.key == b.gate.loopback {
		return nil
	}
	key, ok := b.gate.keys.Current(b.key)
	if !ok {
		return refuse(CodeKeyUnknown, "key %s was revoked", b.key.Name())
	}
	if !key.Allows(apikey.ScopeNotify) {
		return refuse(CodeScopeMissing, "key %s has no scope %s", key.Name(), apikey.ScopeNotify)
	}
	b.key = key
	return nil
}

// progress gives the next line its time. Only a line that was served, or
// refused for what it says, is progress.
func (b *batch) progress() { b.until = time.Now().Add(b.cfg.BatchIdle) }

// serve sends the present line, or refuses it for the reason given, and writes
// its result. It returns an error only when the caller has gone.
func (b *batch) serve(ctx context.Context, refused error) error {
	defer b.release()
	if err := b.wait(ctx, 1+costOfBody(b.size), b.key.Take); err != nil {
		return err
	}
	if refused != nil {
		b.refuse(b.gate.explain(ctx, refused))
		return nil
	}
	j, err := b.prepareLine(ctx)
	if err == nil && j.cost > 0 {
		if err := b.wait(ctx, j.cost, b.key.TakeMore); err != nil {
			return err
		}
	}
	if err == nil {
		err = b.finish(ctx, j)
	}
	if err != nil && gone(ctx, err) {
		return err
	}
	if err != nil {
		b.refuse(b.gate.explain(ctx, err))
	}
	return nil
}

// prepareLine reads and checks the present line.
func (b *batch) prepareLine(ctx context.Context) (*job, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	if err := b.work(ctx); err != nil {
		return nil, err
	}
	defer b.pass.Rest()
	return b.sender.prepare(b.key, b.sender.notifyOperation(b.key), b.line)
}

// work begins to work on the present line when its turn has come.
func (b *batch) work(ctx context.Context) error {
	if err := b.gate.awaitLarge(ctx, b.key, b.pass, len(b.line)); err != nil {
		return err
	}
	return b.gate.limited(b.key, b.pass.AwaitWork(ctx))
}

// finish does the job of the present line and writes the reply.
func (b *batch) finish(ctx context.Context, j *job) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.RequestTimeout)
	defer cancel()
	if err := b.work(ctx); err != nil {
		return err
	}
	defer b.pass.Rest()
	j.notification.Sent = b.pass.Rest
	reply, replayed, err := b.sender.do(ctx, j)
	if err != nil {
		return err
	}
	b.pass.Rest() // the caller may read slowly
	b.reply(reply, replayed)
	return nil
}

// wait spends cost, with take, and waits while the rate of the key is used up:
// a batch is slowed where single requests are refused.
func (b *batch) wait(ctx context.Context, cost int, take func(time.Time, int) time.Duration) error {
	if take(time.Now(), cost) == 0 {
		return nil
	}
	b.gate.metrics.limited.WithLabelValues(b.key.Name(), limitRate).Inc()
	if err := b.flush(); err != nil {
		return err
	}
	return b.key.Wait(ctx, cost, take)
}

// release gives back the memory of a long line.
func (b *batch) release() {
	if cap(b.line) > pooledBody {
		b.line = nil
	}
	b.pass.DropTo(batchMemory + int64(cap(b.line)))
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
	b.gate.metrics.refused.WithLabelValues(string(e.Code)).Inc()
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
// the last line, which needs no newline, and skipError when the line cannot be
// taken. Before it waits for more input, it flushes what was answered.
func (b *batch) next() error {
	b.no++
	b.line, b.size = b.line[:0], 0
	var over error
	for {
		part, err := b.read()
		b.size += len(part)
		if over == nil {
			over = b.take(part)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case over != nil && (err == nil || errors.Is(err, io.EOF)):
			return skipError{over}
		case errors.Is(err, io.EOF) && len(b.line) > 0:
			return nil
		}
		b.line = bytes.TrimSuffix(b.line, []byte("\n"))
		return err
	}
}

// take adds part to the present line, or says why it cannot.
func (b *batch) take(part []byte) error {
	size := len(b.line) + len(part)
	if size > b.cfg.BodyLimit+1 {
		return tooLarge(b.cfg.BodyLimit)
	}
	if grown := max(size, 2*cap(b.line)); size > cap(b.line) {
		if err := b.pass.Hold(int64(grown - cap(b.line))); err != nil {
			return b.gate.limited(b.key, err)
		}
		b.line = slices.Grow(b.line, grown-len(b.line))
	}
	b.line = append(b.line, part...)
	return nil
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
	if err := deadline(b.ctrl.SetReadDeadline, b.until); err != nil {
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
	if err := deadline(b.ctrl.SetWriteDeadline, time.Now().Add(b.cfg.BatchIdle)); err != nil {
		return err
	}
	if err := b.out.Flush(); err != nil {
		return err
	}
	return b.ctrl.Flush()
}

// deadline moves a deadline: a batch may last, but not stand still.
func deadline(set func(time.Time) error, at time.Time) error {
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
