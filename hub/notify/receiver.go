package notify

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// maxReturns and maxReturnBytes bound the envelopes that wait to be sent back at
// one worker.
const (
	maxReturns     = 4096
	maxReturnBytes = 32 << 20
)

// DeliverFunc takes one envelope and reports whether there was room for it.
// When it is delivered, done is called, with statuses if report says so. It
// must not block.
type DeliverFunc func(body []byte, report bool, done func(hub.Outcome)) bool

// Receiver is the worker's end of a notification: it passes envelopes to the
// sockets, confirms them when they are delivered, and sends back to the API
// server what the worker could not deliver because its users have left.
type Receiver struct {
	deliver DeliverFunc
	log     *slog.Logger
	metrics receiverMetrics
	returns chan *returned
	waiting atomic.Int64 // bytes of those
}

// returned is an envelope that missed some of its users.
//
//bound:returns
type returned struct {
	message *relay.Message
	outcome hub.Outcome
}

// NewReceiver returns a Receiver that delivers with deliver. Handle is the
// handler of the worker's relay, which Run then sends on.
func NewReceiver(deliver DeliverFunc, log *slog.Logger, reg prometheus.Registerer) *Receiver {
	return &Receiver{
		deliver: deliver,
		log:     log,
		metrics: newReceiverMetrics(reg),
		returns: make(chan *returned, maxReturns),
	}
}

// Handle is a relay.Handler.
func (r *Receiver) Handle(m *relay.Message) bool {
	return r.deliver(m.Body, m.WantsReply(), func(o hub.Outcome) {
		if len(o.Missed) == 0 {
			m.Done(o.Reply(hub.KindOf(m.Body)))
			return
		}
		if !r.queue(&returned{message: m, outcome: o}) {
			r.metrics.dropped.Add(float64(len(o.Missed)))
			m.Done(o.Reply(hub.KindNotify))
		}
	})
}

// queue has x sent back, or reports false when too many wait.
func (r *Receiver) queue(x *returned) bool {
	if r.waiting.Add(x.size()) > maxReturnBytes {
		r.waiting.Add(-x.size())
		return false
	}
	select {
	case r.returns <- x:
		return true
	default:
		r.waiting.Add(-x.size())
		return false
	}
}

// size is what x keeps in memory.
func (x *returned) size() int64 { return int64(len(x.message.Body)) }

// Run sends missed users back over rl until ctx ends. A message is confirmed
// only after that, so that nobody forgets the users in between.
func (r *Receiver) Run(ctx context.Context, rl *relay.Relay) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case x := <-r.returns:
			r.giveBack(ctx, rl, x)
			r.waiting.Add(-x.size())
		}
	}
}

// GivenUp takes what the worker's relay could not give back within its window;
// it is for relay.Relay.GivenUp.
func (r *Receiver) GivenUp(gone []relay.Abandoned) {
	for _, a := range gone {
		if v, err := hub.ParseEnvelope(a.Body); err == nil && v.Kind == hub.KindMissed {
			r.metrics.dropped.Add(float64(v.UserCount()))
			r.log.Warn("users who had left could not be given back", "id", string(v.ID), "count", v.UserCount())
		}
	}
}

func (r *Receiver) giveBack(ctx context.Context, rl *relay.Relay, x *returned) {
	d, err := hub.ParseEnvelope(x.message.Body)
	if err != nil { // the worker has read it: it parses
		r.log.Error("give back an envelope", "err", err)
		x.message.Done(nil)
		return
	}
	e := d.Envelope(hub.KindMissed, x.outcome.Missed, x.outcome.Shared)
	if err := rl.Send(ctx, []relay.Outgoing{{To: x.message.From, Body: e.Append(nil)}}); err != nil {
		r.metrics.dropped.Add(float64(len(x.outcome.Missed)))
		r.log.Warn("give back an envelope", "err", err)
	} else {
		r.metrics.returned.Add(float64(len(x.outcome.Missed)))
	}
	x.message.Done(x.outcome.Reply(hub.KindNotify))
}
