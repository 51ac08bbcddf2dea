package redisx

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of all shards and subscribers of a process.
type metrics struct {
	masterChanges *prometheus.CounterVec // by shard
	unavailable   *prometheus.CounterVec // by shard and operation
	moves         *prometheus.CounterVec // by shard and reason
	failures      *prometheus.CounterVec // by shard
	messages      *prometheus.CounterVec // by shard
	subscribed    *prometheus.GaugeVec   // by shard
	refusals      *prometheus.CounterVec // by shard, node and class
}

// newMetrics makes the counters and registers them with reg, which may be nil.
// Counters that reg has already are used as they are, since a Redis and its
// subscribers share them.
func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		masterChanges: counter(reg, "homing_redis_master_changes_total",
			"Changes of a shard's master to another address, process or replication history.", "shard"),
		unavailable: counter(reg, "homing_redis_unavailable_total",
			"Reads (each try) and writes that met no server able to serve.", "shard", "op"),
		moves: counter(reg, "homing_redis_subscription_moves_total",
			"Subscriptions that left a server, by reason.", "shard", "reason"),
		failures: counter(reg, "homing_redis_subscription_failures_total",
			"Attempts to subscribe that failed.", "shard"),
		messages: counter(reg, "homing_redis_subscription_messages_total",
			"Messages received through subscriptions.", "shard"),
		refusals: counter(reg, "homing_redis_refusals_total",
			"Commands that a server refused, by class: elsewhere (another server may serve), unavailable, full, misconfigured.", "shard", "node", "class"),
		subscribed: registered(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "homing_redis_subscription_up",
			Help: "1 while the subscription is confirmed on a server of the shard.",
		}, []string{"shard"})),
	}
}

func counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// registered returns c, or the equal collector that reg has already.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(c); errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}

func register(reg prometheus.Registerer, c prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	if err := reg.Register(c); err != nil {
		return fmt.Errorf("register the metrics of redis: %w", err)
	}
	return nil
}

// nodeCollector reads the nodes' health at each scrape, so that servers that
// have left the deployment leave the metrics too.
type nodeCollector struct{ shards []*Shard }

var (
	nodeHealthy = prometheus.NewDesc("homing_redis_node_healthy",
		"1 when a replica may be used or the master is reachable.", []string{"shard", "node", "role"}, nil)
	lagBytes = prometheus.NewDesc("homing_redis_replication_lag_bytes",
		"Replication stream that the replica lacked when last asked.", []string{"shard", "node"}, nil)
	lagSeconds = prometheus.NewDesc("homing_redis_replication_lag_seconds",
		"How long the replica had lacked some of the replication stream, in steps of a second.", []string{"shard", "node"}, nil)
	nodeEvicts = prometheus.NewDesc("homing_redis_evicts",
		"1 when the server forgets keys when it is full, which a data or inbox server must not.", []string{"shard", "node"}, nil)
	memoryUsed = prometheus.NewDesc("homing_redis_memory_used_ratio",
		"Memory that the server uses, as a share of its maxmemory; none without one.", []string{"shard", "node"}, nil)
	shardStable = prometheus.NewDesc("homing_redis_master_stable_seconds",
		"How long the master has been reachable without a break; 0 when it is not.", []string{"shard"}, nil)
)

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeHealthy, lagBytes, lagSeconds, nodeEvicts, memoryUsed, shardStable} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range c.shards {
		gauge(shardStable, s.Stable().Seconds(), s.Name())
		for _, n := range s.Nodes() {
			gauge(nodeHealthy, oneIf(n.Healthy), s.Name(), n.Addr, string(n.Role))
			if n.Role == Replica {
				gauge(lagBytes, float64(n.LagBytes), s.Name(), n.Addr)
				gauge(lagSeconds, n.Lag.Seconds(), s.Name(), n.Addr)
			}
			if !s.keeps || n.memory == nil {
				continue
			}
			gauge(nodeEvicts, oneIf(n.memory.evicts()), s.Name(), n.Addr)
			if n.memory.limit > 0 {
				gauge(memoryUsed, float64(n.memory.used)/float64(n.memory.limit), s.Name(), n.Addr)
			}
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
