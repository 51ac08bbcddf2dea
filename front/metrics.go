package front

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/drop"
)

// metrics are what a worker counts beside its loop. The loop's goroutine is
// almost their only writer.
type metrics struct {
	users      prometheus.Gauge
	handshakes *prometheus.CounterVec
	health     *prometheus.CounterVec
	closes     *prometheus.CounterVec
	received   prometheus.Counter
	dropped    [drop.FrontReasons][loop.Classes]prometheus.Counter

	envelopes        [hub.KindDisconnect + 1]prometheus.Counter
	lostEnvelopes    *prometheus.CounterVec
	refusedEnvelopes prometheus.Counter
	targets          prometheus.Counter
	missed           prometheus.Counter
	heard            prometheus.Gauge
	heardEvicted     prometheus.Counter

	standing  prometheus.Gauge
	doubts    prometheus.Counter
	dismissed prometheus.Counter
	drained   *prometheus.CounterVec

	resumes        *prometheus.CounterVec
	replayed       prometheus.Counter
	repeats        prometheus.Counter
	acks           *prometheus.CounterVec
	anchors        *prometheus.CounterVec
	replayBytes    prometheus.Gauge
	waitingResumes prometheus.Gauge
	slowReplays    prometheus.Counter

	topics      prometheus.Gauge
	memberships prometheus.Gauge
	subscribes  *prometheus.CounterVec
	publishes   *prometheus.CounterVec

	passed        *prometheus.CounterVec
	receivedConns prometheus.Counter
	piped         prometheus.Gauge

	polls          *prometheus.CounterVec
	polledSessions prometheus.Gauge

	overBudget     *prometheus.CounterVec
	forgottenUsage prometheus.Counter
	surplus        prometheus.Counter

	presenceDropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, waitingBytes func() int) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		users:      gauge(f, "users", "Users with at least one connection."),
		handshakes: counters(f, "handshakes_total", "Handshakes by their result: ok, or the code of the refusal.", "result"),
		health:     counters(f, "health_requests_total", "Requests for /healthz and /readyz at the players' address, by status.", "status"),
		closes:     counters(f, "closes_total", "WebSocket connections ended, by the close code that was sent, received, or 1006 when there was none.", "code"),
		received:   counter(f, "received_messages_total", "Messages read from clients, control frames included."),

		lostEnvelopes:    counters(f, "dropped_envelopes_total", "Envelopes not delivered: malformed.", "reason"),
		refusedEnvelopes: counter(f, "refused_envelopes_total", "Envelopes refused because the inbox was full; the relay sends them again."),
		targets:          counter(f, "targets_total", "Users named in envelopes."),
		missed:           counter(f, "missed_targets_total", "Users named in envelopes of whom no connection that is meant is held here; their sender looks them up again."),
		heard:            gauge(f, "heard_deliveries", "Deliveries remembered because they may come again."),
		heardEvicted:     counter(f, "heard_evicted_total", "Deliveries forgotten before their time for newer ones; what comes again of them is written twice."),

		standing:  gauge(f, "standing", "What the worker may assume of what the others think of it: 0 good, 1 doubt (it delivers nothing and lets nobody in), 2 lost (it sends everybody away and ends)."),
		doubts:    counter(f, "doubts_total", "Times that the worker came to doubt whether the others think it alive."),
		dismissed: counter(f, "dismissed_total", "Connections sent away, with a time to come back, because the worker was taken for dead."),
		drained:   counters(f, "drained_connections_total", "Connections sent away because their node was ordered to drain, by how: told (when to leave), drain-deadline (closed, because they were still there then).", "how"),

		resumes:        counters(f, "resumes_total", "Clients that asked for what they missed: recovered, gone (not all of it is kept any more), unavailable, busy, rate_limited, abandoned (they left).", "result"),
		replayed:       counter(f, "replayed_messages_total", "Messages sent to clients that resumed; not among the written messages."),
		repeats:        counter(f, "repeats_total", "Live messages left out because the connection had been replayed them."),
		acks:           counters(f, "acknowledgements_total", "Ids that clients acknowledged.", "result"),
		anchors:        counters(f, "recovery_places_total", "Clients of Socket.IO that were looked for a place to recover from, by result: ok, none (their inbox names none, or they have one), abandoned (they left), unavailable (the inbox), busy (too many acknowledgements wait). Without one a recovery brings all that the inbox holds.", "result"),
		replayBytes:    gauge(f, "replay_bytes", "Bytes of replays that are being read from the inbox or wait for their clients."),
		waitingResumes: gauge(f, "waiting_resumes", "Clients whose resume waits for its turn."),
		slowReplays:    counter(f, "slow_replays_total", "Connections closed because they did not read their replay."),

		topics:      gauge(f, "topics", "Topics that connections are members of."),
		memberships: gauge(f, "topic_memberships", "Memberships of connections in topics."),
		subscribes:  counters(f, "topic_subscribes_total", "Topics that clients asked to join, by result: ok, or the code of the refusal.", "result"),
		publishes:   counters(f, "topic_publishes_total", "Messages that clients published to topics, by result: ok, or the code of the refusal.", "result"),

		passed:        counters(f, "passed_connections_total", "Connections that asked for a room, by result: passed (to the process of this machine that runs it), piped (there, over TLS that ends here), lost (on the way); all others were served here: here (it runs the room), unknown, elsewhere (on another machine), refused, silent, error, busy, too_long, gone (the client left meanwhile, or sent more than is kept).", "result"),
		receivedConns: counter(f, "received_connections_total", "Connections that other processes of this machine have passed to this one."),

		piped: gauge(f, "piped_connections", "Connections over TLS that end here and are served by another process of this machine."),

		polls:          counters(f, "polls_total", "Requests of Socket.IO over HTTP, by result: opened (a session), answered (with packets), upgraded (the session went over to a WebSocket), refused.", "result"),
		polledSessions: gauge(f, "polled_sessions", "Sessions of Socket.IO whose clients poll."),

		overBudget:      counters(f, "over_budget_total", "Times that a client wanted more than it may have, by budget: messages, bytes (of a connection); user_messages, user_bytes, connects, inbox, publish (of a user); message_time; closing (bytes after a close frame); tls_records, tls_answers (of a connection over TLS).", "budget"),
		forgottenUsage:  counter(f, "forgotten_usage_total", "Users who left with something used and were forgotten before it was made good, because too many had left."),
		presenceDropped: counter(f, "dropped_presence_total", "Words of friends not given, because the worker ended before they could be told; a sweep tells of those users."),

		surplus: counter(f, "surplus_connections_total", "Connections beyond the limit of their user: closed with 4010, or refused."),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + "inbox_bytes", Help: "Bytes of envelopes that wait for the loop."}, func() float64 { return float64(waitingBytes()) })
	m.labeled(f)
	return m
}

// labeled makes the counters whose labels are known.
func (m *metrics) labeled(f promauto.Factory) {
	for _, result := range passedResults {
		m.passed.WithLabelValues(string(result))
	}
	dropped := counters(f, "dropped_messages_total", "Messages not written, by reason and class.", "reason", "class")
	for why := range drop.FrontReasons {
		for class := loop.Must; class < loop.Classes; class++ {
			m.dropped[why][class] = dropped.WithLabelValues(why.String(), hub.Class(class-loop.Must).String())
		}
	}
	envelopes := counters(f, "envelopes_total", "Envelopes delivered to this worker's connections.", "kind")
	for kind, name := range map[hub.Kind]string{hub.KindNotify: "notify", hub.KindBroadcast: "broadcast", hub.KindDisconnect: "disconnect"} {
		m.envelopes[kind] = envelopes.WithLabelValues(name)
	}
}

// drop counts one message that was given up.
func (m *metrics) drop(why drop.Reason, class loop.Class) { m.dropped[why][class].Inc() }

// lost counts messages that were given up.
func (m *metrics) lost(why drop.Reason, lost loop.Lost) {
	for class := loop.Must; class < loop.Classes; class++ {
		if n := lost[class]; n > 0 {
			m.dropped[why][class].Add(float64(n))
		}
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
