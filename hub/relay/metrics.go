package relay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	published     *prometheus.CounterVec
	publishErrors *prometheus.CounterVec
	unsent        prometheus.Counter
	refused       prometheus.Counter
	resent        *prometheus.CounterVec
	givenUp       *prometheus.CounterVec
	acks          prometheus.Counter
	repliesLost   prometheus.Counter

	received  [refused + 1]prometheus.Counter // by verdict
	skipped   prometheus.Counter
	malformed prometheus.Counter
	lag       prometheus.Histogram

	canaryLag  *prometheus.HistogramVec
	canaryLost *prometheus.CounterVec
}

// Reasons to give a message up.
const (
	reasonWindow = "window" // not confirmed within the window
	reasonDead   = "dead"   // its receiver died; the caller of Abandon has it
)

// usage is how many bytes a relay keeps, by what for.
type usage struct {
	retained int // messages until their receivers confirm them
	largest  int // of those, the most for one receiver
	ahead    int // messages that arrived ahead of a gap
	replies  int // replies that their senders may not have
}

func newMetrics(reg prometheus.Registerer, now func() usage) metrics {
	f := promauto.With(reg)
	gauge := func(name, help string, of func(usage) int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "homing_relay_" + name, Help: help}, func() float64 { return float64(of(now())) })
	}
	gauge("retained_bytes", "Bytes of messages kept until their receivers confirm them.", func(u usage) int { return u.retained })
	gauge("largest_share_bytes", "Of those, the most that are kept for one receiver.", func(u usage) int { return u.largest })
	gauge("ahead_bytes", "Bytes of messages that arrived and wait behind a gap.", func(u usage) int { return u.ahead })
	gauge("reply_bytes", "Bytes of replies kept until their senders have them.", func(u usage) int { return u.replies })
	received := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_relay_received_total",
		Help: "Messages that arrived, by what became of them: released in order, kept behind a gap, dropped as repeated, or refused for lack of room (they come again).",
	}, []string{"verdict"})
	m := metrics{
		published:     counters(f, "published_total", "Packets that a pub/sub shard's master took.", "shard"),
		publishErrors: counters(f, "publish_errors_total", "Packets that a pub/sub shard's master did not take; each goes to the next shard.", "shard"),
		unsent:        counter(f, "unsent_total", "Packets that no shard took. Messages among them are kept and sent again."),
		refused:       counter(f, "refused_total", "Messages refused because too much is kept for their receiver, or in all; their sender was told."),
		resent:        counters(f, "resent_total", "Messages sent again, because the receiver missed them or because it was silent.", "cause"),
		givenUp:       counters(f, "given_up_total", "Messages that were never confirmed, by why they are kept no longer.", "reason"),
		acks:          counter(f, "acks_total", "Acknowledgements sent."),
		repliesLost:   counter(f, "replies_lost_total", "Replies given up untold, because more came at once than one sender is kept for."),
		skipped:       counter(f, "skipped_total", "Sequence numbers that never arrived and whose sender is gone."),
		malformed:     counter(f, "malformed_total", "Packets dropped because they are not of a known version."),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "homing_relay_lag_seconds",
			Help:    "From the sender's clock when a message was published to this process's clock when it arrived.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
	m.canaryLost = counters(f, "canaries_lost_total", "Probes that were published on a shard and did not come back through this process's subscription there.", "shard")
	m.canaryLag = f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "homing_relay_canary_seconds",
		Help:    "From publishing a probe on a shard until it came back through this process's subscription there.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	}, []string{"shard"})
	for v, name := range [...]string{released: "released", kept: "kept", repeated: "repeated", refused: "refused"} {
		m.received[v] = received.WithLabelValues(name)
	}
	return m
}

func counter(f promauto.Factory, name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Name: "homing_relay_" + name, Help: help})
}

func counters(f promauto.Factory, name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: "homing_relay_" + name, Help: help}, labels)
}
