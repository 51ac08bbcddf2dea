package bench

import (
	"context"
	"fmt"

	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// connect connects clients: the rate, and CPU for each.
func (r *run) connect(ctx context.Context) error {
	return r.with(ctx, "", r.opts, func(g *rig.Rig) error {
		return r.connectAll(ctx, g, r.opts)
	})
}

// connectAll connects the clients and adds what that cost.
func (r *run) connectAll(ctx context.Context, g *rig.Rig, o Options) error {
	used, err := g.Connect(ctx, o.Rate)
	if err != nil {
		return err
	}
	r.addConnects(o, used)
	micros := func(group string) float64 {
		return float64(used.Groups[group].CPU.Microseconds()) / float64(o.Conns)
	}
	if o.API == "" {
		r.Add("front_us_per_connect", micros(rig.Front), "µs of front CPU per connect (token check and registration included)")
		r.Add("redis_us_per_connect", micros(rig.Redis), "µs of Redis CPU per connect")
	}
	r.Add("client_us_per_connect", micros(rig.Clients), "µs of client CPU per connect")
	return nil
}

// addSpread adds how evenly the workers share the connections, by the kernel's
// own account.
func (r *run) addSpread(h homing) error {
	workers, err := h.Front.Workers()
	if err != nil {
		return err
	}
	holders, err := usage.Holders(h.Front.Port(), workers)
	if err != nil {
		return fmt.Errorf("find out who holds which connection: %w", err)
	}
	held, most := make(map[int]int), 0
	for _, pid := range holders {
		held[pid]++
		most = max(most, held[pid])
	}
	r.Add("workers", float64(len(workers)), "front worker processes")
	r.Add("worker_max_to_mean", float64(most)*float64(len(workers))/float64(len(holders)), "connections of the fullest worker to the mean")
	return nil
}
