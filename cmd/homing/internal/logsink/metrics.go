package logsink

import (
	"errors"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// reason says why a line was dropped.
type reason string

const (
	reasonFull   reason = "full"     // the queue: the reader is too slow, or has stopped
	reasonBroken reason = "broken"   // the reader has gone
	reasonSpace  reason = "no_space" // the disk is full, or a quota
	reasonFailed reason = "failed"   // another error of the write
	reasonClosed reason = "closed"   // the process ends
)

var reasons = []reason{reasonFull, reasonBroken, reasonSpace, reasonFailed, reasonClosed}

// reasonOf is the reason that the error of a write stands for.
func reasonOf(err error) reason {
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return reasonBroken
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return reasonSpace
	case errors.Is(err, syscall.EAGAIN): // the end did not wait for it
		return reasonClosed
	default:
		return reasonFailed
	}
}

type metrics struct {
	dropped *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "homing", Subsystem: "log", Name: "lines_dropped_total",
		Help: "Log lines that were not written, because the queue was full, the reader had gone, there was no space, the write failed otherwise, or the process ended.",
	}, []string{"reason"})}
	for _, r := range reasons {
		m.dropped.WithLabelValues(string(r))
	}
	return m
}

func (m *metrics) count(r reason, lines int) {
	m.dropped.WithLabelValues(string(r)).Add(float64(lines))
}
