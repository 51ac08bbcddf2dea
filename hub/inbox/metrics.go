package inbox

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	stored       prometheus.Counter
	expired      prometheus.Counter
	pushed       prometheus.Counter
	acked        prometheus.Counter
	read         prometheus.Counter
	reads        *prometheus.CounterVec
	failures     *prometheus.CounterVec
	retries      prometheus.Counter
	lost         *prometheus.CounterVec
	refused      *prometheus.CounterVec
	unbounded    *prometheus.GaugeVec
	storeSeconds prometheus.Histogram
	readSeconds  prometheus.Histogram
}

// The operations that may fail, and what a read may find.
const (
	opStore, opRead, opAck, opMark, opHeld = "store", "read", "ack", "mark", "held"
	readWhole, readGone                    = "recovered", "gone"
	refusedFull, refusedQuota              = "full", "quota"
)

func newMetrics(reg prometheus.Registerer) metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "homing", Subsystem: "inbox", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "homing", Subsystem: "inbox", Name: name, Help: help}, []string{label})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "homing", Subsystem: "inbox", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 14),
		})
	}
	return metrics{
		stored:   counter("stored_total", "Notifications added to an inbox, one for each user."),
		expired:  counter("expired_total", "Entries removed because their time was over, as far as an inbox that was written to met them."),
		pushed:   counter("pushed_out_total", "Entries given up because the inbox was full."),
		acked:    counter("acknowledged_total", "Entries removed because a client acknowledged them."),
		read:     counter("read_entries_total", "Entries given to clients that resumed."),
		reads:    vec("reads_total", "Reads by whether all was still there since what the client had seen.", "result"),
		failures: vec("failures_total", "Operations that failed.", "operation"),
		retries:  counter("store_retries_total", "Stores on one shard tried again because the master was being replaced, or not all replicas had them."),
		lost:     vec("history_lost_total", "Times that a shard was found without what it had held.", "shard"),
		refused:  vec("refused_total", "Stores on one shard that were refused for want of room: the server is above its watermark (full), or the API key holds all that it may (quota).", "reason"),
		unbounded: f.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "homing", Subsystem: "inbox", Name: "unbounded",
			Help: "1 where nothing bounds what is stored: the server sets no maxmemory, and --inbox-memory none for it.",
		}, []string{"shard"}),
		storeSeconds: seconds("store_seconds", "Time to store one notification for all its users."),
		readSeconds:  seconds("read_seconds", "Time to read one inbox."),
	}
}
