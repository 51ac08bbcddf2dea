package call

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/homing/homing/hub"
)

// version begins every message of this package. No envelope begins so (see
// hub.Envelope): one channel carries both.
const version = 0x81

// maxMethod bounds the name of what is asked for.
const maxMethod = 64

// kind is what a message is.
type kind byte

const (
	kindAsk     kind = iota + 1
	kindAnswer       // body is the answer
	kindRefusal      // body is a RefusalError
)

// message is an ask, or what comes back. Wire form; numbers are unsigned varints:
//
//	version kind    one byte each
//	id              the asker's number for it
//	patience        of an ask: how many milliseconds the asker waits
//	len method      of an ask
//	body            the rest
type message struct {
	kind     kind
	id       uint64
	patience time.Duration
	method   string
	body     []byte
}

var errBadMessage = errors.New("not a message of hub/call")

// bytes returns m as it travels.
func (m *message) bytes() []byte {
	b := []byte{version, byte(m.kind)}
	b = binary.AppendUvarint(b, m.id)
	if m.kind == kindAsk {
		b = binary.AppendUvarint(b, uint64(max(0, m.patience.Milliseconds())))
		b = binary.AppendUvarint(b, uint64(len(m.method)))
		b = append(b, m.method...)
	}
	return append(b, m.body...)
}

// parse reads b, of which the message is a view.
func parse(b []byte) (m message, err error) {
	if len(b) < 2 || b[0] != version {
		return m, errBadMessage
	}
	m.kind = kind(b[1])
	r := reader{rest: b[2:]}
	m.id = r.number()
	switch m.kind {
	case kindAsk:
		m.patience = time.Duration(min(r.number(), uint64(maxPatience/time.Millisecond))) * time.Millisecond
		m.method = string(r.bytes(maxMethod))
	case kindAnswer, kindRefusal:
	default:
		return m, errBadMessage
	}
	m.body = r.rest
	if r.bad {
		return m, errBadMessage
	}
	return m, nil
}

// reader takes numbers and bytes off the front of rest.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) bytes(limit uint64) []byte {
	n := r.number()
	if n > limit || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// RefusalError is why an ask was not carried out, as the process said that was asked.
type RefusalError struct {
	Code   string `json:"code"`
	Field  string `json:"field,omitzero"` // at fault; of an ask that is invalid
	Detail string `json:"detail,omitzero"`
}

func (e *RefusalError) Error() string {
	if e.Detail == "" {
		return e.Code
	}
	return e.Code + ": " + e.Detail
}

// Is reports whether target is the failure that e stands for, so that callers need
// not know where it was found.
func (e *RefusalError) Is(target error) bool {
	switch target {
	case ErrNoAnswer:
		return e.Code == codeLate
	case hub.ErrUnavailable:
		return e.Code == codeUnavailable || e.Code == CodeBusy
	case hub.ErrInvalid:
		return e.Code == codeInvalid
	}
	return false
}

// The codes of refusals that every method may answer.
const (
	CodeBusy        = "busy"
	CodeUnknown     = "unknown_method"
	codeUnavailable = "unavailable"
	codeLate        = "late" // the time was over first: it may be carried out yet
	codeInvalid     = "invalid"
	codeFailed      = "failed"
)

// busy is the RefusalError of a process that is asked too much.
var busy = []byte(`{"code":"` + CodeBusy + `"}`)

// refusal is err as it travels.
func refusal(err error) *RefusalError {
	var own *RefusalError
	var field *hub.FieldError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &field):
		return &RefusalError{Code: codeInvalid, Field: field.Field, Detail: field.Detail}
	case errors.Is(err, context.DeadlineExceeded):
		return &RefusalError{Code: codeLate, Detail: err.Error()}
	case errors.Is(err, hub.ErrUnavailable):
		return &RefusalError{Code: codeUnavailable, Detail: err.Error()}
	}
	return &RefusalError{Code: codeFailed, Detail: err.Error()}
}

// ErrNoAnswer says that nothing came back in time: whether the ask was carried out
// is not known.
var ErrNoAnswer = errors.New("the process has not answered in time")
