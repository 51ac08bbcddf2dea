package auth

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	tokens  *prometheus.CounterVec
	fetches *prometheus.CounterVec
	keys    prometheus.Gauge
	updated prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		tokens: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_auth_tokens_total",
			Help: "Player tokens checked, by result: ok, or the code of the refusal.",
		}, []string{"result"}),
		fetches: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_auth_jwks_fetches_total",
			Help: "Fetches of the key set, by result: ok or failed.",
		}, []string{"result"}),
		keys: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_auth_jwks_keys",
			Help: "Usable keys in the key set in use.",
		}),
		updated: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_auth_jwks_last_success_timestamp_seconds",
			Help: "Unix time of the last successful fetch of the key set; 0 before.",
		}),
	}
}

func (m *metrics) verified(err error) { m.tokens.WithLabelValues(Code(err)).Inc() }

func (m *metrics) fetched(keys int, err error) {
	if err != nil {
		m.fetches.WithLabelValues("failed").Inc()
		return
	}
	m.fetches.WithLabelValues("ok").Inc()
	m.keys.Set(float64(keys))
	m.updated.SetToCurrentTime()
}
