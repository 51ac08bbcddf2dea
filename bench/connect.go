package bench

import (
	"context"

	"github.com/homing/homing/bench/rig"
)

var connectScenario = scenario{name: "connect", measure: measureConnect}

// measureConnect connects clients: the rate, and CPU for each.
func measureConnect(ctx context.Context, r *run) error {
	return r.try(ctx, setup{Options: r.opts}, func(t *trial) error { return t.connectAll(ctx, t.opts.Rate) })
}

// connectAll connects the clients, so many a second or (0) as fast as they go, and adds what that cost.
func (t *trial) connectAll(ctx context.Context, rate float64) error {
	used, err := t.rig.Connect(ctx, rate)
	if err != nil {
		return err
	}
	t.addConnects(used)
	micros := func(group string) float64 {
		return float64(used.Groups[group].CPU.Microseconds()) / float64(t.opts.Conns)
	}
	if t.opts.API == "" {
		t.Add("front_us_per_connect", micros(rig.Front), "µs of front CPU per connect (token check and registration included)")
		t.Add("redis_us_per_connect", micros(rig.Redis), "µs of Redis CPU per connect")
	}
	t.Add("client_us_per_connect", micros(rig.Clients), "µs of client CPU per connect")
	return nil
}
