package control

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/hub/fleet"
)

type metrics struct {
	desired *prometheus.GaugeVec // by cluster, region
	shadow  *prometheus.GaugeVec // by rules, cluster, region
	nodes   *prometheus.GaugeVec // by cluster, region, state
	players *prometheus.GaugeVec // by cluster, region
	entries *prometheus.CounterVec
	results *prometheus.CounterVec
	working prometheus.Gauge
	faults  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		desired: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_fleet_desired_nodes", Help: "Nodes that the rules want of a cluster now; only the leader has it.",
		}, []string{"cluster", "region"}),
		shadow: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_fleet_shadow_nodes", Help: "Nodes that rules in the shadow would want now; only the leader has it.",
		}, []string{"rules", "cluster", "region"}),
		nodes: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_fleet_nodes", Help: "Nodes by their state: starting, ready, draining or red; only the leader has it.",
		}, []string{"cluster", "region", "state"}),
		players: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_fleet_connections", Help: "Connections of a cluster's nodes; only the leader has it.",
		}, []string{"cluster", "region"}),
		entries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_fleet_decisions_total", Help: "Decisions of the rules, by what they ask for.",
		}, []string{"action"}),
		results: f.NewCounterVec(prometheus.CounterOpts{
			Name: "homing_fleet_actions_total", Help: "What came of actions: done, failed, timed_out, refused, or unknown after their leader had gone.",
		}, []string{"action", "result"}),
		working: f.NewGauge(prometheus.GaugeOpts{
			Name: "homing_fleet_actions_under_way", Help: "Actions that the driver is carrying out.",
		}),
		faults: f.NewCounter(prometheus.CounterOpts{
			Name: "homing_fleet_faults_total", Help: "Looks at the nodes that came to nothing: Redis did not answer, or another one leads.",
		}),
	}
}

// forget takes back what only a leader knows.
func (m *metrics) forget() {
	for _, v := range []*prometheus.GaugeVec{m.desired, m.shadow, m.nodes, m.players} {
		v.Reset()
	}
}

// see shows the nodes of a snapshot.
func (m *metrics) see(snap *fleet.Snapshot) {
	m.nodes.Reset()
	m.players.Reset()
	for i := range snap.Nodes {
		n := &snap.Nodes[i]
		for _, s := range []fleet.State{fleet.Starting, fleet.Ready, fleet.Draining, fleet.Red} {
			m.nodes.WithLabelValues(n.Cluster, n.Region, string(s))
		}
		m.nodes.WithLabelValues(n.Cluster, n.Region, string(n.State)).Inc()
		m.players.WithLabelValues(n.Cluster, n.Region).Add(float64(n.Load.Connections))
	}
}

func (m *metrics) entry(e *Entry) {
	switch e.Kind {
	case KindDecision:
		m.entries.WithLabelValues(string(e.Decision.Action)).Inc()
	case KindOutcome:
		m.results.WithLabelValues(string(e.Decision.Action), string(e.Result)).Inc()
	case KindLeader, KindMark, KindShadow:
	}
}
