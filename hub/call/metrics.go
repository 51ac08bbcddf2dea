package call

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	asked  *prometheus.CounterVec
	served *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		asked: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_call_asked_total",
			Help: "Asks to other processes, by result: answered, refused, unanswered in time, unsent.",
		}, []string{"result"}),
		served: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_call_served_total",
			Help: "Asks of other processes, by result: answered, refused, late (the asker had given up), full (too many waited), unsent (the answer was).",
		}, []string{"result"}),
	}
}
