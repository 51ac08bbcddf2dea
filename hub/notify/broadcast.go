package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
)

// heardWithin is how long a broadcast waits to be told how many connections it
// was for. As a rule that takes milliseconds; of a process that says nothing its
// last lease is believed.
const heardWithin = 500 * time.Millisecond

// Broadcast tells every front process to write n to all its connections, or
// to those of n.Services. Users are ignored. In the summary Targets and Online
// are the connections that it was for, as the processes answer, or, of those
// that do not answer at once, as many as they reported with their last lease, of
// any service. Unavailable are the connections of processes that have too much
// unconfirmed (see relay.Relay.Send): they were not told.
//
// The leases are read for it, so that a process which took its own a moment ago
// is told as well. While they cannot be read, nobody can take one either; when
// they never could, it is an error that wraps hub.ErrUnavailable.
func (d *Dispatcher) Broadcast(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	if err := d.able(); err != nil {
		return hub.Summary{}, fmt.Errorf("broadcast %s: %w", n.ID, err)
	}
	if err := d.Census.Refresh(ctx); err != nil {
		d.Log.WarnContext(ctx, "broadcast by the last reading of the leases", "id", n.ID, "err", err)
	}
	if d.Census.Roll() == nil {
		return hub.Summary{}, fmt.Errorf("broadcast %s: %w", n.ID, lease.ErrNotLoaded)
	}
	e := envelope(hub.KindBroadcast, n, n.Render())
	c := newCast(d.Census.Processes(hub.RoleFront), e.Append(nil))
	if err := d.Relay.Send(ctx, c.out); err != nil {
		return hub.Summary{}, fmt.Errorf("broadcast %s: %w", n.ID, err)
	}
	if n.Sent != nil {
		n.Sent()
	}
	d.metrics.broadcasts.Inc()
	told, heard, unavailable := c.count(ctx)
	if told < len(c.out) {
		d.Log.WarnContext(ctx, "broadcast not sent to processes that have too much unconfirmed", "id", n.ID, "processes", len(c.out)-told)
	}
	return hub.Summary{ID: n.ID, Targets: heard + unavailable, Online: heard, Unavailable: unavailable, Processes: told}, nil
}

// cast is a broadcast on its way to some processes.
type cast struct {
	out     []relay.Outgoing
	held    []int      // connections of each, by its last lease
	answers chan heard // room for all, so that nobody waits to answer
}

// heard is what one process answers, by its place.
type heard struct {
	at    int
	reply []byte
}

func newCast(to []hub.Process, body []byte) *cast {
	c := &cast{out: make([]relay.Outgoing, len(to)), held: make([]int, len(to)), answers: make(chan heard, len(to))}
	for i := range to {
		c.held[i] = to[i].Connections
		c.out[i] = relay.Outgoing{To: to[i].ID, Body: body, Reply: func(b []byte) { c.answers <- heard{i, b} }}
	}
	return c
}

// count waits for the answers, for a moment. It returns how many processes were
// told, the connections there, and those of the processes that were not.
func (c *cast) count(ctx context.Context) (told, connections, unavailable int) {
	for i := range c.out {
		if c.out[i].Refused {
			unavailable += c.held[i]
			continue
		}
		told++
		connections += c.held[i]
	}
	ctx, cancel := context.WithTimeout(ctx, heardWithin)
	defer cancel()
	for range told {
		select {
		case h := <-c.answers:
			if n, ok := hub.ParseHeard(h.reply); ok {
				connections += n - c.held[h.at]
			}
		case <-ctx.Done():
			return told, connections, unavailable
		}
	}
	return told, connections, unavailable
}
