package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	accepted *prometheus.CounterVec
	targets  *prometheus.CounterVec
	replayed prometheus.Counter
	refused  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	return metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_requests_total",
			Help: "Requests answered, by route and HTTP status; 499 is a caller who left.",
		}, []string{"route", "code"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "homing_api_request_duration_seconds",
			Help:    "Time from a request's header to the end of its reply, by route.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"route"}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_api_requests_in_flight",
			Help: "Requests being served.",
		}),
		accepted: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_notifications_accepted_total",
			Help: "Notifications the hub accepted, by kind (notify, broadcast).",
		}, []string{"kind"}),
		targets: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_targets_total",
			Help: "Distinct users of accepted notifications, or connections of broadcasts, by kind.",
		}, []string{"kind"}),
		replayed: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_api_replayed_total",
			Help: "Notifications answered from the record of their id, without being sent again.",
		}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_refused_total",
			Help: "Requests and lines of batches refused, by problem code.",
		}, []string{"code"}),
	}
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
