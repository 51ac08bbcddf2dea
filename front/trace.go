package front

import (
	"context"
	"log/slog"
	"strconv"

	"github.com/homing/homing/hub"
)

// tracer logs what becomes of single connections.
type tracer struct {
	process hub.ProcessID
	log     *slog.Logger
	enabled bool // the log takes the level debug
}

func newTracer(process hub.ProcessID, log *slog.Logger) tracer {
	return tracer{process, log, log.Enabled(context.Background(), slog.LevelDebug)}
}

// appendName appends what hello calls c and what the log calls it: the process,
// and the number of the connection there.
func (t *tracer) appendName(b []byte, c *conn) []byte {
	b = append(b, t.process...)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(c.Serial()), 36)
}

// trace logs what became of one connection, by its name, and its user and address
// while these are known, at the level debug. It costs next to nothing while that is not logged.
func (t *tracer) trace(c *conn, what string, args ...any) {
	if !t.enabled {
		return
	}
	about := []any{"conn", string(t.appendName(nil, c))}
	if c.State.user != "" {
		about = append(about, "user", c.State.user)
	}
	if addr := c.Addr(); addr.IsValid() {
		about = append(about, "address", addr)
	}
	t.log.Debug(what, append(about, args...)...) //nolint:sloglint // the callers give constants
}
