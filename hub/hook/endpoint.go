package hook

import (
	"context"
	"time"
)

// Endpoint is where events are sent. It is safe for concurrent use.
type Endpoint interface {
	// Post sends an event once and says what came of it. id names the event.
	Post(ctx context.Context, id string, body []byte) Answer
}

// Answer is what an endpoint made of an event.
type Answer struct {
	Verdict Verdict
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
