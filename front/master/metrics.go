package master

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	ready          prometheus.Gauge
	deaths         prometheus.Counter
	handed         prometheus.Counter
	lost           prometheus.Counter
	scrapeFailures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "homing", Subsystem: "front_master", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "homing", Subsystem: "front_master", Name: "ready_workers",
			Help: "Slots whose worker serves.",
		}),
		deaths:         counter("worker_deaths_total", "Workers that exited without having been told to."),
		handed:         counter("handed_connections_total", "Waiting connections handed to another slot's worker."),
		lost:           counter("lost_connections_total", "Waiting connections that no worker could be given."),
		scrapeFailures: counter("scrape_failures_total", "Workers' metrics that could not be read."),
	}
	reg.MustRegister(m.ready)
	return m
}

func (m *Master) countServing() int {
	n := 0
	for _, s := range m.slots {
		if s.serving.Load() != nil {
			n++
		}
	}
	return n
}
