package front

import (
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
)

// Asker asks other processes; see call.Peer.
type Asker interface {
	Ask(ctx context.Context, to hub.ProcessID, method string, body []byte) ([]byte, error)
}

// Exchange carries requests of polled sessions to the processes that own them, and
// what they are answered with back: a request may come to any worker of any machine,
// and the id of its session names the owner. It is for one Worker. Attach comes
// before that runs.
type Exchange struct {
	asker Asker
	dead  func(hub.ProcessID) bool

	far atomic.Pointer[farRequests] // nil: the worker speaks no Engine.IO
}

// Attach has x ask through a, unless dead says that the process is known not to live.
func (x *Exchange) Attach(a Asker, dead func(hub.ProcessID) bool) { x.asker, x.dead = a, dead }

// What processes ask of each other. Numbers are unsigned varints.
//
//	get     id sid          answer: an outcome
//	post    len sid payload answer: an outcome
//	release id sid
//	abort   sid
//	answer  id outcome
//
// An outcome is a status of HTTP, whether the session has shown a token, and the
// body. A get that is not answered yet has statusLater; answer follows. release has it
// be answered at once, because the process that asked for it ends.
const (
	methodGet     = "poll.get"
	methodPost    = "poll.post"
	methodRelease = "poll.release"
	methodAbort   = "poll.abort"
	methodAnswer  = "poll.answer"

	statusLater   = 0
	statusUnknown = http.StatusNotFound
)

// Methods are what other processes ask of this one.
func (x *Exchange) Methods() map[string]call.Handler {
	return map[string]call.Handler{
		methodGet:     x.onLoop((*farRequests).takeGet),
		methodPost:    x.onLoop((*farRequests).takePost),
		methodRelease: x.onLoop((*farRequests).takeRelease),
		methodAbort:   x.onLoop((*farRequests).takeAbort),
		methodAnswer:  x.onLoop((*farRequests).takeAnswer),
	}
}

var errNoEngine = errors.New("this process speaks no Engine.IO, or ends")

// onLoop has what is asked be done by the loop of the worker.
func (x *Exchange) onLoop(do func(*farRequests, hub.ProcessID, []byte) outcome) call.Handler {
	return func(ctx context.Context, from hub.ProcessID, body []byte) ([]byte, error) {
		f := x.far.Load()
		result := make(chan outcome, 1)
		if f == nil || !f.polls.loop.Post(func() { result <- do(f, from, body) }) {
			return nil, errNoEngine
		}
		select {
		case o := <-result:
			return o.bytes(nil), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// outcome is what becomes of a request at the process that owns the session.
type outcome struct {
	status int
	known  bool
	body   []byte
}

func (o outcome) bytes(b []byte) []byte {
	known := byte(0)
	if o.known {
		known = 1
	}
	return append(append(binary.AppendUvarint(b, uint64(o.status)), known), o.body...)
}

func parseOutcome(b []byte) outcome {
	status, n := binary.Uvarint(b)
	if n <= 0 || len(b) == n || status >= 1000 {
		return outcome{status: statusUnknown}
	}
	return outcome{int(status), b[n] == 1, b[n+1:]}
}
