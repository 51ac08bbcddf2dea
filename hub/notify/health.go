package notify

import (
	"context"
	"fmt"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/rights"
	"github.com/homing/homing/redisx"
)

// Health says what keeps d from serving now. Nothing is sent: it looks a user
// up and tries a write on every data shard, asks whether messages come back
// through pub/sub, what Redis has refused lately, and what it would refuse.
func (d *Dispatcher) Health(ctx context.Context) hub.Health {
	var h hub.Health
	d.checkData(ctx, &h)
	if err := d.census.Err(); err != nil && len(h.Down) == 0 { // else that is why
		h.Down = append(h.Down, err.Error())
	}
	if err := d.agreed(); err != nil {
		h.Down = append(h.Down, err.Error())
	}
	if d.storage != nil {
		h.Degraded = append(h.Degraded, d.storage.Degraded()...)
	}
	if err := d.relay.Ready(); err != nil {
		h.Down = append(h.Down, err.Error())
	}
	d.checkRights(&h)
	for _, t := range d.troubles() {
		h.Add(t.Spare, fmt.Sprintf("redis %s: %s on %s: %s", t.Shard, t.Command, t.Node, t.Reply))
	}
	return h
}

// checkRights adds what Redis refuses. What only a replica refuses hurts when it
// becomes the master.
func (d *Dispatcher) checkRights(h *hub.Health) {
	if d.rights == nil {
		return
	}
	missing := d.rights.Missing()
	for _, m := range missing {
		h.Add(m.Replica, m.String())
	}
	if err := d.rights.Err(); err != nil && len(missing) == 0 && len(h.Down) == 0 {
		h.Down = append(h.Down, err.Error())
	}
}

// checkData tries every data shard. As long as one can be read, some
// notifications can be taken.
func (d *Dispatcher) checkData(ctx context.Context, h *hub.Health) {
	checks := d.index.Check(ctx)
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

// RefusedBy sets what tells which commands Redis refuses for a reason that
// another try does not mend. It is called before the dispatcher is used.
func (d *Dispatcher) RefusedBy(troubles func() []redisx.Trouble) { d.troubles = troubles }

// AllowedBy sets what knows which commands Redis would refuse. It is called
// before the dispatcher is used.
func (d *Dispatcher) AllowedBy(c *rights.Check) { d.rights = c }

// AgreedBy sets what tells whether this process uses Redis as the others do.
// While it does not nothing is accepted. It is called before the dispatcher is
// used.
func (d *Dispatcher) AgreedBy(agreed func() error) { d.agreed = agreed }
