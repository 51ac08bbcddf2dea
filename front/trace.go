package front

import "strconv"

// appendName appends what hello calls c and what the log calls it: the process,
// and the number of the connection there.
func (w *Worker) appendName(b []byte, c *conn) []byte {
	b = append(b, w.deps.Process...)
	b = append(b, '.')
	return strconv.AppendUint(b, uint64(c.generation), 36)
}

// trace logs what became of one connection, by its name, and its user and address
// while these are known, at the level debug. It costs next to nothing while that is not logged.
func (w *Worker) trace(c *conn, what string, args ...any) {
	if !w.tracing {
		return
	}
	about := []any{"conn", string(w.appendName(nil, c))}
	if c.user != "" {
		about = append(about, "user", c.user)
	}
	if c.guest != nil {
		about = append(about, "address", c.guest.Addr)
	}
	w.log.Debug(what, append(about, args...)...) //nolint:sloglint // the callers give constants
}
