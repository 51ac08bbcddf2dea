package match

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	created *prometheus.CounterVec
	refused *prometheus.CounterVec
	ended   *prometheus.CounterVec

	waiting  *prometheus.GaugeVec
	tickets  *prometheus.GaugeVec
	leads    *prometheus.GaugeVec
	wait     *prometheus.HistogramVec
	matches  *prometheus.CounterVec
	back     *prometheus.CounterVec
	faulty   *prometheus.CounterVec
	failures *prometheus.CounterVec
	again    *prometheus.CounterVec
	round    *prometheus.HistogramVec
}

// Why tickets go back to wait: the claim's time was over, a player has not accepted,
// the room was not opened, or it is not known whether the claim came about.
const (
	backLapsed = "lapsed"
	backRoom   = "room"
	backDoubt  = "doubt"
)

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "homing", Subsystem: "match", Name: name, Help: help}, append([]string{"queue"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "homing", Subsystem: "match", Name: name, Help: help}, []string{"queue"})
	}
	seconds := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "homing", Subsystem: "match", Name: name, Help: help, Buckets: buckets}, []string{"queue"})
	}
	return metrics{
		created: counter("created_total", "Tickets that began to wait."),
		refused: counter("refused_total", "Tickets refused because too many wait."),
		ended:   counter("ended_total", "Tickets that ended, by how.", "how"),

		waiting:  gauge("waiting_players", "Players who wait, as the process that makes the queue's matches sees them; no other has it."),
		tickets:  gauge("waiting_tickets", "Tickets that wait, likewise."),
		leads:    gauge("leads", "1 where the queue's matches are made by this process."),
		wait:     seconds("wait_seconds", "How long matched tickets have waited.", []float64{.1, .25, .5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600}),
		matches:  counter("matches_total", "Matches whose players were told."),
		back:     counter("given_back_total", "Tickets that were claimed and wait again, by why: the claim's time was over (lapsed), the room was not opened (room), or Redis did not say whether they were claimed (doubt).", "why"),
		faulty:   counter("faulty_matches_total", "Matches of the match function that were not made because they cannot be."),
		failures: counter("failures_total", "Rounds and deliveries that failed, by what was being done.", "what"),
		again:    counter("announced_again_total", "Matches that were announced by another process, or later, because whoever opened the room had not finished."),
		round:    seconds("round_seconds", "Time of one look at a queue: read, match and claim.", prometheus.ExponentialBuckets(0.001, 2, 13)),
	}
}

// silent forgets the gauges of a queue that another process works on.
func (m *metrics) silent(queue string) {
	m.waiting.DeleteLabelValues(queue)
	m.tickets.DeleteLabelValues(queue)
	m.leads.WithLabelValues(queue).Set(0)
}
