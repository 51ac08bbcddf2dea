package front

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// logText is a log's text that a test may read meanwhile.
type logText struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

func (l *logText) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// TestLogNamesConnectionsAsHelloDoes holds docs/protocol.md to its word.
func TestLogNamesConnectionsAsHelloDoes(t *testing.T) {
	var log logText
	r := startLogging(t, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), nil, nil)
	c := r.dial("?token=ann")
	conn, _ := c.json()["conn"].(string)
	if conn == "" {
		t.Fatal("hello names no connection")
	}
	for _, line := range [][]string{{"token accepted", "sub=ann", "address=127.0.0.1"}, {"player connected", "user=ann"}} {
		wait(t, line[0], func() bool { return log.has(append(line, "conn="+conn+" ")...) })
	}
	c.Close()
	wait(t, "the line of the end", func() bool { return log.has("connection ended", "conn="+conn+" ", "user=ann") })
}
