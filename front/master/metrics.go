package master

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	deaths         prometheus.Counter
	hung           prometheus.Counter
	handed         prometheus.Counter
	lost           prometheus.Counter
	scrapeFailures prometheus.Counter
	ticketFailures prometheus.Counter
}

func newMetrics(m *Master, reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "homing", Subsystem: "front_master", Name: name, Help: help})
	}
	registerGauges(m, f)
	return &metrics{
		deaths:         counter("worker_deaths_total", "Workers that exited without having been told to."),
		hung:           counter("hung_total", "Workers that were killed because their loop did not answer."),
		handed:         counter("handed_connections_total", "Waiting connections handed to another slot's worker."),
		lost:           counter("lost_connections_total", "Waiting connections that no worker could be given."),
		scrapeFailures: counter("scrape_failures_total", "Workers' metrics that could not be read."),
		ticketFailures: counter("ticket_key_failures_total", "Times that there were no session ticket keys to be had; the workers keep those that they have."),
	}
}

func isServing(s *slot) bool { return s.serving.Load() != nil }

func isOut(s *slot) bool { return s.out.Load() }

// registerGauges registers counts of m's slots, taken when they are asked for.
func registerGauges(m *Master, f promauto.Factory) {
	gauge := func(name, help string, labels prometheus.Labels, of func(*slot) bool) {
		f.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: "homing", Subsystem: "front_master", Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(count(m.slots, of)) },
		)
	}
	in := func(c condition) func(*slot) bool { return func(s *slot) bool { return s.condition() == c } }
	gauge("ready_workers", "Slots whose worker serves.", nil, isServing)
	gauge("unresponsive_workers", "Slots whose worker's loop does not answer; their metrics are left out.", nil, in(silent))
	gauge("closed_slots", "Slots whose sockets do not listen, because another slot serves better.", nil, isOut)
	gauge("tls_closed_workers", "Workers whose TLS listener is closed for want of a certificate.", nil, (*slot).tlsClosed)
	for c, standing := range standings {
		gauge("standing_workers", "Slots whose worker answers, by what it may assume that others think of it.",
			prometheus.Labels{"standing": standing.String()}, in(c))
	}
}

// count is the number of slots of which is holds.
func count(slots []*slot, is func(*slot) bool) int {
	n := 0
	for _, s := range slots {
		if is(s) {
			n++
		}
	}
	return n
}
