package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	seconds    prometheus.Histogram
	targets    *prometheus.CounterVec
	broadcasts prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "homing_notify_dispatch_seconds",
			Help:    "Time to look the users of a notification up and publish its envelopes.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		targets: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_notify_targets_total",
			Help: "Users of dispatched notifications, by whether a live process held them.",
		}, []string{"presence"}),
		broadcasts: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_broadcasts_total",
			Help: "Broadcasts sent to every front process.",
		}),
	}
}
