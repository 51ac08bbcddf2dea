package index

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// readerMetrics are the Index's.
type readerMetrics struct {
	answered      prometheus.Counter
	failed        prometheus.Counter
	lookupSeconds prometheus.Histogram
	online        prometheus.Counter
	offline       prometheus.Counter
	swept         prometheus.Counter
	sweepsDone    prometheus.Counter
	sweepsFailed  prometheus.Counter
}

func newReaderMetrics(reg prometheus.Registerer) readerMetrics {
	f := promauto.With(reg)
	users := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_index_users_total",
		Help: "Users looked up, by whether a live process held them.",
	}, []string{"result"})
	lookups := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_index_lookups_total",
		Help: "Lookups of one or many users, by result.",
	}, []string{"result"})
	sweeps := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_index_sweeps_total",
		Help: "Sweeps that this process ran, by result.",
	}, []string{"result"})
	return readerMetrics{
		answered: lookups.WithLabelValues("ok"),
		failed:   lookups.WithLabelValues("error"),
		lookupSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "homing_index_lookup_seconds",
			Help:    "Time that a lookup took, from the call to the grouped answer.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		online:  users.WithLabelValues("online"),
		offline: users.WithLabelValues("offline"),
		swept: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_index_swept_entries_total",
			Help: "Entries of dead processes removed.",
		}),
		sweepsDone:   sweeps.WithLabelValues("ok"),
		sweepsFailed: sweeps.WithLabelValues("error"),
	}
}

// answer counts a lookup that began at start and found p.
func (m *readerMetrics) answer(start time.Time, p Placement) {
	m.answered.Inc()
	m.lookupSeconds.Observe(time.Since(start).Seconds())
	m.online.Add(float64(p.Online))
	m.offline.Add(float64(p.Offline))
}

// writerMetrics are the Registrar's.
type writerMetrics struct {
	set          prometheus.Counter
	removed      prometheus.Counter
	lingered     prometheus.Counter
	flushSeconds prometheus.Histogram
	flushErrors  prometheus.Counter
	renewErrors  prometheus.Counter
	pending      prometheus.Gauge
	verified     prometheus.Counter
	repaired     prometheus.Counter
}

func newWriterMetrics(reg prometheus.Registerer) writerMetrics {
	f := promauto.With(reg)
	registrations := f.NewCounterVec(prometheus.CounterOpts{
		Name: "homing_index_registrations_total",
		Help: "Users whose entry was written, by whether it was set or removed, or its place kept for a while (linger).",
	}, []string{"kind"})
	return writerMetrics{
		set:     registrations.WithLabelValues("set"),
		removed: registrations.WithLabelValues("remove"),

		lingered: registrations.WithLabelValues("linger"),
		flushSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "homing_index_flush_seconds",
			Help:    "Time of one round trip that writes queued changes.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		}),
		flushErrors: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_index_flush_errors_total",
			Help: "Rounds of changes that failed and were queued again.",
		}),
		renewErrors: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_index_renew_errors_total",
			Help: "Failed attempts to renew the lease.",
		}),
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_index_pending_changes",
			Help: "Changes that wait to be written.",
		}),
		verified: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_index_verified_entries_total",
			Help: "Entries compared with what this process holds, after a shard may have lost some.",
		}),
		repaired: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_index_repaired_entries_total",
			Help: "Entries found wrong when they were verified, and written again.",
		}),
	}
}

// written counts the entries of r.
func (m *writerMetrics) written(r *round) {
	set, lingered := 0, 0
	for _, holds := range r.holds {
		switch holds {
		case "":
		case lingering:
			lingered++
		default:
			set++
		}
	}
	m.set.Add(float64(set))
	m.lingered.Add(float64(lingered))
	m.removed.Add(float64(len(r.holds) - set - lingered))
}
