package notify

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/hub/index"
)

type metrics struct {
	seconds    prometheus.Histogram
	targets    *prometheus.CounterVec
	broadcasts prometheus.Counter
	sent       prometheus.Counter
}

// found counts the users that a look-up found.
func (m *metrics) found(where *index.Placement) {
	m.targets.WithLabelValues("online").Add(float64(where.Online))
	m.targets.WithLabelValues("offline").Add(float64(where.Offline))
	m.targets.WithLabelValues("unavailable").Add(float64(where.UnavailableUsers()))
	if where.Topics > 0 {
		m.targets.WithLabelValues("topic").Add(float64(where.Topics))
	}
}

type handoverMetrics struct {
	handedOver  prometheus.Counter
	takenBack   prometheus.Counter
	givenUp     prometheus.Counter
	rebroadcast prometheus.Counter
	unreached   *prometheus.CounterVec

	unreachedTopics *prometheus.CounterVec
	topicsOnce      prometheus.Counter
}

type receiverMetrics struct {
	returned prometheus.Counter
	dropped  prometheus.Counter
}

func newReceiverMetrics(reg prometheus.Registerer) receiverMetrics {
	f := promauto.With(reg)
	return receiverMetrics{
		returned: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_returned_total",
			Help: "Users of received notifications who had left this worker, given back to the sender.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_returns_dropped_total",
			Help: "Users who had left this worker and could not be given back: too many wait, or no shard takes them.",
		}),
	}
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
			Help: "Users of dispatched notifications, by whether a live process held them or nobody can tell.",
		}, []string{"presence"}),
		broadcasts: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_broadcasts_total",
			Help: "Broadcasts sent to every front process.",
		}),
		sent: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_sent_users_total",
			Help: "Users in envelopes given to the relay, once for each process that holds them, first sendings and hand-overs alike.",
		}),
	}
}

func newHandoverMetrics(reg prometheus.Registerer, handovers, handoverBytes *atomic.Int64) handoverMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_notify_handovers",
		Help: "Envelopes whose users are looked for after their process had died or missed them.",
	}, func() float64 { return float64(handovers.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_notify_handover_bytes",
		Help: "Bytes that those envelopes keep.",
	}, func() float64 { return float64(handoverBytes.Load()) })
	return handoverMetrics{
		takenBack: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_taken_back_users_total",
			Help: "Users in envelopes that a process had not confirmed when it was declared dead.",
		}),
		givenUp: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_given_up_users_total",
			Help: "Users in envelopes that a living process did not confirm within the relay's window. The log names them.",
		}),
		rebroadcast: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_broadcasts_handed_over_total",
			Help: "Broadcasts that a process had not confirmed when it died, and that its players hear where they come back.",
		}),
		handedOver: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_handed_over_total",
			Help: "Users found elsewhere after the process they were at had died or missed them.",
		}),
		topicsOnce: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_topics_handed_over_once_total",
			Help: "Topics of dead processes that were handed over to the members of that moment alone, because too much is handed over.",
		}),
		unreachedTopics: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_notify_unreached_topics_total",
			Help: "Topics of accepted notifications some of whose members may not have been reached, by reason.",
		}, []string{"reason"}),
		unreached: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_notify_unreached_total",
			Help: "Users of accepted notifications who were online then and were not reached: not back within the window, too many to wait for, or the server stopped.",
		}, []string{"reason"}),
	}
}

type onceMetrics struct {
	doubtful prometheus.Counter
	renewed  prometheus.Counter
	taken    prometheus.Counter // the label values of settled
	released prometheus.Counter
	finished prometheus.Counter
	lost     prometheus.Counter
	given    prometheus.Counter

	refusedFull, refusedQuota prometheus.Counter
}

func newOnceMetrics(reg prometheus.Registerer, waiting func() float64) onceMetrics {
	f := promauto.With(reg)
	settled := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_notify_claims_settled_late_total",
		Help: "Idempotency keys settled after their requests had ended: taken over by a repeat, released, finished, found in another's hands (lost), or given up.",
	}, []string{"how"})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_notify_claims_unsettled",
		Help: "Idempotency keys whose release or reply waits for Redis.",
	}, waiting)
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_notify_claims_refused_total",
		Help: "Requests with an id refused because it could not be remembered: data Redis is above its watermark (full), or the API key's remembered requests take all that they may (quota).",
	}, []string{"reason"})
	return onceMetrics{
		refusedFull:  refused.WithLabelValues("full"),
		refusedQuota: refused.WithLabelValues("quota"),
		doubtful: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_claims_doubtful_total",
			Help: "Claims of idempotency keys that got no answer, so that nobody knows whether they stand.",
		}),
		renewed: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_notify_claims_renewed_total",
			Help: "Renewals of claims whose requests lasted.",
		}),
		taken:    settled.WithLabelValues("taken"),
		released: settled.WithLabelValues("released"),
		finished: settled.WithLabelValues("finished"),
		lost:     settled.WithLabelValues("lost"),
		given:    settled.WithLabelValues("given_up"),
	}
}
