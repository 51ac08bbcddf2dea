package hook

import (
	"context"
	"time"
)

// Endpoint is where events are sent. It is safe for concurrent use.
type Endpoint interface {
	// Post sends an event, or a batch, once and says what came of it. id names what
	// is sent.
	Post(ctx context.Context, id string, body []byte) Answer
}

// Answer is what an endpoint made of an event.
type Answer struct {
	Verdict Verdict
	Why     Failure       // of what has Failed
	After   time.Duration // not to be tried again before; 0: no wish
	Err     error         // why it was not taken
}

// Verdict is what is to be done with an event.
type Verdict uint8

// The verdicts.
const (
	Failed    Verdict = iota // to be tried again
	Delivered                // taken
	Gone                     // the endpoint wants no events any more
)

// String names the verdict as metrics do.
func (v Verdict) String() string { return [...]string{"failed", "delivered", "gone"}[v] }

// Failure is why a request has failed.
type Failure uint8

// The failures.
const (
	Unreachable Failure = iota // nobody answered: no connection, or it broke
	TimedOut                   // no answer within the endpoint's timeout
	Private                    // the address is one that the operator forbids
	Redirected                 // 3xx, which is not followed
	Refused                    // another status
	Failures                   // how many there are
)

// String names the failure as metrics do.
func (f Failure) String() string {
	return [...]string{"unreachable", "timeout", "private_address", "redirect", "refused"}[f]
}
