package relay

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type senderMetrics struct {
	published     *prometheus.CounterVec
	publishErrors *prometheus.CounterVec
	unsent        prometheus.Counter
}

func newSenderMetrics(reg prometheus.Registerer) senderMetrics {
	f := promauto.With(reg)
	return senderMetrics{
		published: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_relay_published_total",
			Help: "Messages that a pub/sub shard's master took.",
		}, []string{"shard"}),
		publishErrors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_relay_publish_errors_total",
			Help: "Messages that a pub/sub shard's master did not take; each goes to the next shard.",
		}, []string{"shard"}),
		unsent: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_relay_unsent_total",
			Help: "Messages that no shard took; their sender was told.",
		}),
	}
}

type receiverMetrics struct {
	received  *prometheus.CounterVec
	malformed prometheus.Counter
	missed    prometheus.Counter
	late      prometheus.Counter
	lag       prometheus.Histogram
}

func newReceiverMetrics(reg prometheus.Registerer) receiverMetrics {
	f := promauto.With(reg)
	return receiverMetrics{
		received: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_relay_received_total",
			Help: "Messages received on this process's channel, by pub/sub shard.",
		}, []string{"shard"}),
		malformed: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_relay_malformed_total",
			Help: "Messages dropped because they are not of a known version.",
		}),
		missed: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_relay_missed_total",
			Help: "Sequence numbers skipped: messages that were sent to this process and did not arrive in their place.",
		}),
		late: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_relay_late_total",
			Help: "Messages whose sequence number was not above the last one seen from their sender.",
		}),
		lag: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "homing_relay_lag_seconds",
			Help:    "From the sender's clock when a message was sent to this process's clock when it arrived.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
}
