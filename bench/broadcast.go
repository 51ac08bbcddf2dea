package bench

import (
	"context"

	"github.com/homing/homing/bench/rig"
)

// broadcast sends to everyone who is connected, on an open-loop schedule.
func (r *run) broadcast(ctx context.Context) error {
	r.toAll = true
	o := r.opts
	o.Targets, o.Online, o.Peak = o.Conns, o.Conns, false
	if err := r.with(ctx, "", o, func(g *rig.Rig) error { return r.deliver(ctx, g, o) }); err != nil {
		return err
	}
	if !o.Limit {
		return nil
	}
	return r.limit(ctx, o)
}
