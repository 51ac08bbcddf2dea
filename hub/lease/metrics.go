package lease

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are a Census's.
type metrics struct {
	processes  prometheus.Gauge
	questioned prometheus.Gauge
	failures   prometheus.Counter
	declared   prometheus.Counter
	vouched    prometheus.Counter
	dropped    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "homing_lease_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "homing_lease_" + name, Help: help})
	}
	return metrics{
		processes:  gauge("live_processes", "Processes taken to live, as this process sees them."),
		questioned: gauge("questioned_processes", "Processes without a lease of their own making that are being asked whether they live."),
		failures:   counter("refresh_errors_total", "Attempts to read the leases that failed; the last answer stays in use."),
		declared:   counter("declared_dead_total", "Processes that this one declared dead: no lease, and no answer."),
		vouched:    counter("vouched_total", "Leases renewed for a process that answered and could not renew its own."),
		dropped:    counter("signs_dropped_total", "Signs of life dropped because too many came at once; they come again."),
	}
}
