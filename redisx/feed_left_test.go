package redisx

import (
	"log/slog"
	"strings"
	"testing"
)

// TestToGoBackToAReplicaIsNoWarning: a process that met the master before its
// replicas moves once at the start, and nothing is wrong.
func TestToGoBackToAReplicaIsNoWarning(t *testing.T) {
	for reason, want := range map[string]string{moveReplica: "level=INFO", moveSilent: "level=WARN", moveClosed: "level=WARN"} {
		var log strings.Builder
		m := newMetrics(nil)
		f := &feed{shard: newShard(&dialect{target: &target{name: "s"}}, m, nil), metrics: m, log: slog.New(slog.NewTextHandler(&log, nil))}
		f.left(&link{addr: "a:1"}, reason, nil)
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s: %s; want %s", reason, log.String(), want)
		}
	}
}
