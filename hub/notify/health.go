package notify

import (
	"context"
	"fmt"

	"github.com/homing/homing/hub"
)

// Health says what keeps the dispatcher from serving now. Nothing is sent: it
// looks a user up and tries a write on every data shard, asks whether messages come
// back through pub/sub, what Redis has refused lately, and what it would refuse.
func (d *Deps) Health(ctx context.Context) hub.Health {
	var h hub.Health
	d.checkData(ctx, &h)
	if err := d.Census.Err(); err != nil && len(h.Down) == 0 { // else that is why
		h.Down = append(h.Down, err.Error())
	}
	if err := d.agreed(); err != nil {
		h.Down = append(h.Down, err.Error())
	}
	if err := d.Relay.Ready(); err != nil {
		h.Down = append(h.Down, err.Error())
	}
	d.checkRights(&h)
	if d.Storage != nil {
		h.Degraded = append(h.Degraded, d.Storage.Degraded()...)
	}
	if d.Hooks != nil {
		h.Degraded = append(h.Degraded, d.Hooks()...)
	}
	if d.Troubles != nil {
		for _, t := range d.Troubles() {
			h.Add(t.Spare, fmt.Sprintf("redis %s: %s on %s: %s", t.Shard, t.Command, t.Node, t.Reply))
		}
	}
	return h
}

// checkRights adds what Redis refuses. What only a replica refuses hurts when it
// becomes the master.
func (d *Deps) checkRights(h *hub.Health) {
	if d.Rights == nil {
		return
	}
	missing := d.Rights.Missing()
	for _, m := range missing {
		h.Add(m.Replica, m.String())
	}
	if err := d.Rights.Err(); err != nil && len(missing) == 0 && len(h.Down) == 0 {
		h.Down = append(h.Down, err.Error())
	}
}

// checkData tries every data shard. As long as one can be read, some
// notifications can be taken.
func (d *Deps) checkData(ctx context.Context, h *hub.Health) {
	checks := d.Index.Check(ctx)
	unread := 0
	for _, c := range checks {
		switch {
		case c.Read != nil:
			unread++
			h.Degraded = append(h.Degraded, c.Read.Error())
		case c.Write != nil:
			h.Degraded = append(h.Degraded, c.Write.Error())
		}
	}
	if unread == len(checks) {
		h.Down, h.Degraded = append(h.Down, h.Degraded...), nil
	}
}
