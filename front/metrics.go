package front

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// reason names why messages were not written.
type reason uint8

const (
	dropReplaced reason = iota // latest: given up for a newer one with its key
	dropEvicted                // droppable: given up for a newer message
	dropFull                   // droppable: no room, and nothing to give up
	dropSlow                   // the connection was closed as a slow consumer
	dropStalled                // the connection took nothing for the write timeout
	dropLost                   // the connection broke
	dropDisowned               // the connection was sent away: others thought the worker dead, and tell its users
	dropClosed                 // the connection was closed for another reason
	reasonCount
)

var reasonNames = [reasonCount]string{
	"replaced", "evicted", "outbox_full", "slow_consumer", "write_timeout", "connection_lost", "disowned", "connection_closed",
}

// metrics are what a worker counts. The loop is almost their only writer.
type metrics struct {
	connections prometheus.Gauge
	users       prometheus.Gauge
	waiting     prometheus.Gauge
	accepted    prometheus.Counter
	handshakes  *prometheus.CounterVec
	tls         tlsMetrics
	pending     prometheus.Gauge
	addresses   prometheus.Gauge
	turnedAway  *prometheus.CounterVec
	health      *prometheus.CounterVec
	closes      *prometheus.CounterVec

	received      prometheus.Counter
	receivedBytes prometheus.Counter
	written       prometheus.Counter
	writtenBytes  prometheus.Counter
	dropped       [reasonCount][hub.ClassDroppable + 1]prometheus.Counter

	envelopes     [hub.KindDisconnect + 1]prometheus.Counter
	lostEnvelopes *prometheus.CounterVec

	refusedEnvelopes prometheus.Counter
	targets          prometheus.Counter
	missed           prometheus.Counter
	turns            prometheus.Histogram
	unlistens        prometheus.Counter
	relistens        prometheus.Counter
	acceptFailures   prometheus.Counter
	stalled          prometheus.Counter

	heard        prometheus.Gauge
	heardEvicted prometheus.Counter

	standing  prometheus.Gauge
	doubts    prometheus.Counter
	dismissed prometheus.Counter

	resumes  *prometheus.CounterVec
	replayed prometheus.Counter
	repeats  prometheus.Counter
	acks     *prometheus.CounterVec

	overBudget     *prometheus.CounterVec
	forgottenUsage prometheus.Counter
	surplus        prometheus.Counter
	replayBytes    prometheus.Gauge
	waitingResumes prometheus.Gauge
	slowReplays    prometheus.Counter
}

const namespace, subsystem = "homing", "front"

func newMetrics(reg prometheus.Registerer, inboxBytes func() int) *metrics {
	b := builder{reg}
	m := &metrics{
		connections: b.gauge("connections", "Sockets held, in whatever state."),
		users:       b.gauge("users", "Users with at least one connection."),
		waiting:     b.gauge("waiting_connections", "Connections with messages that the kernel did not take yet."),
		accepted:    b.counter("accepted_connections_total", "Sockets accepted."),
		handshakes:  b.vec("handshakes_total", "Handshakes by their result: ok, or the code of the refusal.", "result"),
		closes:      b.vec("closes_total", "WebSocket connections ended, by the close code that was sent, received, or 1006 when there was none.", "code"),

		received:      b.counter("received_messages_total", "Messages read from clients, control frames included."),
		receivedBytes: b.counter("received_bytes_total", "Bytes read from clients."),
		written:       b.counter("written_messages_total", "Messages that the kernel took in full, control frames aside."),
		writtenBytes:  b.counter("written_bytes_total", "Bytes that the kernel took."),

		lostEnvelopes: b.vec("dropped_envelopes_total", "Envelopes not delivered: malformed.", "reason"),

		refusedEnvelopes: b.counter("refused_envelopes_total", "Envelopes refused because the inbox was full; the relay sends them again."),
		targets:          b.counter("targets_total", "Users named in envelopes."),
		missed:           b.counter("missed_targets_total", "Users named in envelopes of whom no connection that is meant is held here; their sender looks them up again."),
		unlistens:        b.counter("unlistens_total", "Times the listener was closed because descriptors ran short."),
		relistens:        b.counter("relistens_total", "Times the listener was opened again."),
		stalled:          b.counter("stalled_connections_total", "Connections closed because they took nothing for the write timeout."),
		acceptFailures:   b.counter("accept_failures_total", "Accepts that failed, for want of descriptors or memory."),
	}
	m.pending = b.gauge("pending_connections", "Connections that have shown no valid token, those that were refused and are not closed yet included.")
	m.addresses = b.gauge("known_addresses", "Client addresses that have connections, or opened some a moment ago.")
	m.turnedAway = b.vec("turned_away_total", "Connections not let in, or closed before they showed a token, because of their address, by reason.", "reason")
	for _, why := range turnedAwayReasons {
		m.turnedAway.WithLabelValues(string(why))
	}
	m.health = b.vec("health_requests_total", "Requests for /healthz and /readyz at the players' address, by status.", "status")
	m.heard = b.gauge("heard_deliveries", "Deliveries remembered because they may come again.")
	m.heardEvicted = b.counter("heard_evicted_total", "Deliveries forgotten before their time for newer ones; what comes again of them is written twice.")
	m.standing = b.gauge("standing", "What the worker may assume of what the others think of it: 0 good, 1 doubt (it delivers nothing and lets nobody in), 2 lost (it sends everybody away and ends).")
	m.doubts = b.counter("doubts_total", "Times that the worker came to doubt whether the others think it alive.")
	m.dismissed = b.counter("dismissed_total", "Connections sent away, with a time to come back, because the worker was taken for dead.")
	m.resumes = b.vec("resumes_total", "Clients that asked for what they missed: recovered, gone (not all of it is kept any more), unavailable, busy, rate_limited, abandoned (they left).", "result")
	m.replayed = b.counter("replayed_messages_total", "Messages sent to clients that resumed; not among the written messages.")
	m.repeats = b.counter("repeats_total", "Live messages left out because the connection had been replayed them.")
	m.acks = b.vec("acknowledgements_total", "Ids that clients acknowledged.", "result")
	m.overBudget = b.vec("over_budget_total", "Times that a client wanted more than it may have, by budget: messages, bytes (of a connection); user_messages, user_bytes, connects, inbox (of a user); message_time; closing (bytes after a close frame); tls_records, tls_answers (of a connection over TLS).", "budget")
	m.forgottenUsage = b.counter("forgotten_usage_total", "Users who left with something used and were forgotten before it was made good, because too many had left.")
	m.surplus = b.counter("surplus_connections_total", "Connections beyond the limit of their user: closed with 4010, or refused.")
	m.replayBytes = b.gauge("replay_bytes", "Bytes of replays that are being read from the inbox or wait for their clients.")
	m.waitingResumes = b.gauge("waiting_resumes", "Clients whose resume waits for its turn.")
	m.slowReplays = b.counter("slow_replays_total", "Connections closed because they did not read their replay.")
	m.tls = newTLSMetrics(b)
	m.turns = b.histogram("loop_turn_seconds", "Time of one turn of the event loop, without the wait.")
	dropped := b.vec("dropped_messages_total", "Messages not written, by reason and class.", "reason", "class")
	for r := range reasonCount {
		for c := range m.dropped[r] {
			m.dropped[r][c] = dropped.WithLabelValues(reasonNames[r], hub.Class(c).String())
		}
	}
	envelopes := b.vec("envelopes_total", "Envelopes delivered to this worker's connections.", "kind")
	for kind, name := range map[hub.Kind]string{hub.KindNotify: "notify", hub.KindBroadcast: "broadcast", hub.KindDisconnect: "disconnect"} {
		m.envelopes[kind] = envelopes.WithLabelValues(name)
	}
	b.gaugeFunc("inbox_bytes", "Bytes of envelopes that wait for the loop.", inboxBytes)
	return m
}

// tlsMetrics are about connections over TLS.
type tlsMetrics struct {
	handshakes       *prometheus.CounterVec
	running, waiting prometheus.Gauge
}

func newTLSMetrics(b builder) tlsMetrics {
	return tlsMetrics{
		handshakes: b.vec("tls_handshakes_total", "TLS handshakes by their result: full, resumed, or why they came to nothing.", "result"),
		running:    b.gauge("tls_handshakes_running", "TLS handshakes under way."),
		waiting:    b.gauge("tls_handshakes_waiting", "Connections that wait for their TLS handshake to begin."),
	}
}

// lost counts what abandon gave up.
func (m *metrics) lost(why reason, n classCounts) {
	for class, count := range n {
		m.dropped[why][class].Add(float64(count))
	}
}

func (m *metrics) closed(code ws.CloseCode) {
	m.closes.WithLabelValues(strconv.Itoa(int(code))).Inc()
}

// closedByPeer counts a close frame from a client, which may carry any of
// thousands of codes: only the common ones get a label.
func (m *metrics) closedByPeer(code ws.CloseCode) {
	switch code {
	case ws.CloseNormal, ws.CloseGoingAway, ws.CloseNoStatus:
		m.closed(code)
	default:
		m.closes.WithLabelValues("other").Inc()
	}
}

// builder registers metrics; a name that is taken is a bug and panics.
type builder struct{ reg prometheus.Registerer }

func (b builder) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	b.reg.MustRegister(g)
	return g
}

func (b builder) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	b.reg.MustRegister(c)
	return c
}

func (b builder) vec(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	b.reg.MustRegister(v)
	return v
}

func (b builder) histogram(name, help string) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		Buckets: []float64{1e-5, 1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5},
	})
	b.reg.MustRegister(h)
	return h
}

func (b builder) gaugeFunc(name, help string, value func() int) {
	b.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
	}, func() float64 { return float64(value()) }))
}
