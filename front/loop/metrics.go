package loop

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what a loop counts. Its goroutine is almost their only writer.
type metrics struct {
	connections prometheus.Gauge
	accepted    prometheus.Counter
	pending     prometheus.Gauge
	addresses   prometheus.Gauge
	turnedAway  *prometheus.CounterVec
	handshakes  *prometheus.CounterVec // by result; the handler counts the other results

	tlsHandshakes          *prometheus.CounterVec
	tlsRunning, tlsWaiting prometheus.Gauge

	receivedBytes prometheus.Counter
	waiting       prometheus.Gauge
	written       prometheus.Counter
	writtenBytes  prometheus.Counter
	stalled       prometheus.Counter

	unlistens      prometheus.Counter
	relistens      prometheus.Counter
	acceptFailures prometheus.Counter

	turns        prometheus.Histogram
	refusedPosts prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, handshakes *prometheus.CounterVec) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		connections: gauge(f, "connections", "Sockets held, in whatever state."),
		accepted:    counter(f, "accepted_connections_total", "Sockets accepted."),
		pending:     gauge(f, "pending_connections", "Connections that have shown no valid token, those that were refused and are not closed yet included."),
		addresses:   gauge(f, "known_addresses", "Client addresses that have connections, or opened some a moment ago."),
		turnedAway:  counters(f, "turned_away_total", "Connections not let in, or closed before they showed a token, because of their address, by reason.", "reason"),
		handshakes:  handshakes,

		tlsHandshakes: counters(f, "tls_handshakes_total", "TLS handshakes by their result: full, resumed, or why they came to nothing.", "result"),
		tlsRunning:    gauge(f, "tls_handshakes_running", "TLS handshakes under way."),
		tlsWaiting:    gauge(f, "tls_handshakes_waiting", "Connections that wait for their TLS handshake to begin."),

		receivedBytes: counter(f, "received_bytes_total", "Bytes read from clients."),
		waiting:       gauge(f, "waiting_connections", "Connections with messages that the kernel did not take yet."),
		written:       counter(f, "written_messages_total", "Messages that the kernel took in full, control frames aside."),
		writtenBytes:  counter(f, "written_bytes_total", "Bytes that the kernel took."),
		stalled:       counter(f, "stalled_connections_total", "Connections closed because they took nothing for the write timeout."),

		unlistens:      counter(f, "unlistens_total", "Times the listener was closed because descriptors ran short."),
		relistens:      counter(f, "relistens_total", "Times the listener was opened again."),
		acceptFailures: counter(f, "accept_failures_total", "Accepts that failed, for want of descriptors or memory."),

		refusedPosts: counter(f, "refused_posts_total", "Results of other goroutines that the loop did not take, because too many wait or it has ended; what waits for them ends by its timeout."),
		turns: f.NewHistogram(prometheus.HistogramOpts{
			Name:    prefix + "loop_turn_seconds",
			Help:    "Time of one turn of the event loop, without the wait.",
			Buckets: []float64{1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5},
		}),
	}
	for _, why := range turnedAwayReasons {
		m.turnedAway.WithLabelValues(string(why))
	}
	return m
}

const prefix = "homing_front_"

func gauge(f promauto.Factory, name, help string) prometheus.Gauge {
	return f.NewGauge(prometheus.GaugeOpts{Name: prefix + name, Help: help})
}

func counter(f promauto.Factory, name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
}

func counters(f promauto.Factory, name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
}
