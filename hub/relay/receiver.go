package relay

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Handler takes one message. It is called from one goroutine per shard, in
// the order of arrival, and must not block: while it runs, nothing else is
// read from that shard, and Redis cuts off a subscriber that does not read.
// The message's body is the handler's to keep.
type Handler func(Message)

// Receiver subscribes to one process's channel on every pub/sub shard and
// hands over what arrives.
type Receiver struct {
	sub     *redisx.Subscriber
	handle  Handler
	log     *slog.Logger
	metrics receiverMetrics
	arrived []prometheus.Counter // messages received, by shard

	mu      sync.Mutex
	senders map[hub.ProcessID]*sequence
}

// sequence is what a receiver has seen of one sender.
type sequence struct {
	last uint64
	seen time.Time
}

// NewReceiver returns a receiver for process self that gives messages to h.
// It subscribes once Run runs.
func NewReceiver(r *redisx.Redis, keys hub.Keys, self hub.ProcessID, h Handler, log *slog.Logger, reg prometheus.Registerer) *Receiver {
	rc := &Receiver{
		handle:  h,
		log:     log,
		metrics: newReceiverMetrics(reg),
		senders: make(map[hub.ProcessID]*sequence),
	}
	for _, s := range r.PubSub.Shards() {
		rc.arrived = append(rc.arrived, rc.metrics.received.WithLabelValues(s.Name()))
	}
	rc.sub = redisx.NewSubscriber(r.PubSub, []string{keys.Channel(self)}, rc.receive, log, reg)
	return rc
}

// Run receives until ctx ends.
func (r *Receiver) Run(ctx context.Context) error { return r.sub.Run(ctx) }

// WaitReady blocks until the channel is subscribed on every shard, or ctx ends.
func (r *Receiver) WaitReady(ctx context.Context) error { return r.sub.WaitReady(ctx) }

// Ready reports whether every shard's subscription answers now.
func (r *Receiver) Ready() bool { return r.sub.Ready() }

func (r *Receiver) receive(shard int, _ string, payload []byte) {
	m, err := ParseMessage(payload)
	if err != nil {
		r.metrics.malformed.Inc()
		r.log.Warn("relay message dropped", "shard", shard, "error", err)
		return
	}
	now := time.Now()
	r.arrived[shard].Inc()
	r.metrics.lag.Observe(max(0, now.Sub(m.Sent).Seconds()))
	r.note(m, now)
	r.handle(m)
}

// note compares m's sequence number with the one expected of its sender. The
// first message met from a sender sets the expectation.
func (r *Receiver) note(m Message, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.senders[m.From]
	if s == nil {
		r.forgetIdleLocked(now)
		s = &sequence{last: m.Seq - 1}
		r.senders[m.From] = s
	}
	s.seen = now
	if m.Seq <= s.last {
		r.metrics.late.Inc()
		return
	}
	r.metrics.missed.Add(float64(m.Seq - s.last - 1))
	s.last = m.Seq
}

// forgetIdleLocked forgets senders that said nothing for so long that they
// have forgotten this receiver too. It runs when a sender is new, which is
// when the table would grow.
func (r *Receiver) forgetIdleLocked(now time.Time) {
	for id, s := range r.senders {
		if now.Sub(s.seen) > pairIdle {
			delete(r.senders, id)
		}
	}
}
