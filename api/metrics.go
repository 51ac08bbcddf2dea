package api

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/api/admit"
	"github.com/homing/homing/api/conns"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	accepted *prometheus.CounterVec
	targets  *prometheus.CounterVec
	replayed prometheus.Counter
	refused  *prometheus.CounterVec
	limited  *prometheus.CounterVec
	turned   *prometheus.CounterVec
	paced    prometheus.Counter
}

// closed counts a connection that was closed for want of room.
func (m *metrics) closed(why conns.Reason) { m.turned.WithLabelValues(string(why)).Inc() }

// watch has the connections of table shown.
func (m *metrics) watch(reg prometheus.Registerer, table *conns.Table) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_api_connections",
		Help: "Connections that are open.",
	}, func() float64 { all, _ := table.Open(); return float64(all) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "homing_api_stranger_connections",
		Help: "Open connections that have not shown an API key.",
	}, func() float64 { _, strangers := table.Open(); return float64(strangers) })
}

func gauges(f promauto.Factory, share *admit.Share) {
	for name, g := range map[string]struct {
		help string
		of   func() int64
	}{
		"homing_api_open_requests":    {"Requests with a key under way: that send their body, are worked on, wait for receipts, or are batches.", share.Open},
		"homing_api_working_requests": {"Of those, requests that are being worked on.", share.Working},
		"homing_api_body_bytes":       {"Bytes held of request bodies.", share.Memory},
	} {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: g.help}, func() float64 { return float64(g.of()) })
	}
}

func newMetrics(reg prometheus.Registerer, share *admit.Share) metrics {
	f := promauto.With(reg)
	gauges(f, share)
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
		limited: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_key_limited_total",
			Help: "Requests, and lines of batches, that a limit of their key refused or slowed down, by key and limit (rate, open, in_flight, memory, large).",
		}, []string{"key", "limit"}),
		turned: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_api_connections_closed_total",
			Help: "Connections closed for want of room: too many in all (total), or of one address without a key (address).",
		}, []string{"reason"}),
		paced: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_api_paced_total",
			Help: "Answers that no key pays for and that waited, because their address or key has had many.",
		}),
	}
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
