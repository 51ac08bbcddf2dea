package apikey

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	keys    prometheus.Gauge
	reloads *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		keys: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_api_keys",
			Help: "API keys in force.",
		}),
		reloads: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_key_reloads_total",
			Help: "Times the file of API keys changed, by whether the new one could be used (ok, failed).",
		}, []string{"result"}),
	}
}
