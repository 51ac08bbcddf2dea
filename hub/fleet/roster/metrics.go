package roster

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/hub"
)

type metrics struct {
	assignments *prometheus.CounterVec
	repeats     prometheus.Counter
	crowded     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "homing", Subsystem: "roster", Name: name, Help: help})
	}
	return metrics{
		assignments: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "homing", Subsystem: "roster", Name: "assignments_total",
			Help: "Requests for a place at a node, each look for room counted, by result: assigned, no_capacity, other (the id was another request's), invalid, busy (too many waited for their turn), unavailable, canceled (the caller went away).",
		}, []string{"result"}),
		repeats: counter("repeated_assignments_total", "Requests that were repeated and heard the same."),
		crowded: counter("unparked_total", "Requests that did not wait for room, because too many did."),
	}
}

// resultOf is how assignments_total names what came of a request.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "assigned"
	case errors.Is(err, ErrNoCapacity):
		return "no_capacity"
	case errors.Is(err, ErrOther):
		return "other"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, hub.ErrInvalid):
		return "invalid"
	case errors.Is(err, hub.ErrUnavailable):
		return "unavailable"
	}
	return "canceled"
}

// Results of tickets.
const (
	ticketArrived = "arrived" // its player was waited for
	ticketMissing = "missing" // no place was kept for it: it was used before, or lapsed
	ticketForged  = "forged"  // it is none of ours, or of a key that Redis has lost
	ticketOther   = "other"   // it is for another node
	ticketExpired = "expired"
	ticketExcess  = "excess" // too many came at once to report them
)

// reportMetrics are those of a worker that reports.
type reportMetrics struct {
	reports   *prometheus.CounterVec
	tickets   *prometheus.CounterVec
	lapsed    prometheus.Counter
	conflicts prometheus.Counter
}

func newReportMetrics(reg prometheus.Registerer) reportMetrics {
	f := promauto.With(reg)
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "homing", Subsystem: "node", Name: name, Help: help}
	}
	m := reportMetrics{
		reports:   f.NewCounterVec(opts("reports_total", "Reports of this worker to the roster, by result: ok, failed (Redis did not take it), conflict (another front has the node's name)."), []string{"result"}),
		tickets:   f.NewCounterVec(opts("tickets_total", "Assignment tickets that clients have shown here, by result: arrived, missing (no place was kept: used before, or lapsed), forged, other (for another node), expired, excess (too many came at once to report them). All were let in."), []string{"result"}),
		lapsed:    f.NewCounter(opts("lapsed_reservations_total", "Places kept for players who did not come in time.")),
		conflicts: f.NewCounter(opts("conflicts_total", "Reports refused because another front has the node's name.")),
	}
	for _, result := range []string{ticketArrived, ticketMissing, ticketForged, ticketOther, ticketExpired, ticketExcess} {
		m.tickets.WithLabelValues(result)
	}
	return m
}
