package bench

import (
	"context"
	"fmt"
	"strconv"

	"github.com/homing/homing/bench/rig"
)

// growth measures systems that differ in one size: how cost grows with it,
// and what runs out first.
func (r *run) growth(ctx context.Context) error {
	steps := r.opts.Steps
	if len(steps) == 0 {
		steps = map[string][]int{"conns": {1_000, 10_000, 50_000, 200_000}, "shards": {1, 2, 4}, "workers": {1, 2, 4, 8, 16}}[r.opts.By]
	}
	var all []profile
	for _, n := range steps {
		o := r.opts.grown(n)
		if err := o.Validate(); err != nil {
			return fmt.Errorf("--steps: %w", err)
		}
		name := strconv.Itoa(n) + " " + r.opts.By
		r.say("%s", name)
		err := r.with(ctx, name, o, func(g *rig.Rig) error {
			p, err := r.profile(ctx, r.opts.By+"_"+strconv.Itoa(n), g, o)
			all = append(all, p)
			return err
		})
		if err != nil {
			return err
		}
		r.addProfile(all[len(all)-1])
	}
	r.Tables = append(r.Tables, compare("What grows with "+r.opts.By, all))
	return nil
}

// grown is o with the size that growth makes larger set to n.
func (o Options) grown(n int) Options {
	switch o.By {
	case "shards":
		o.Shards = n
	case "workers":
		o.Workers = n
	default:
		o.Conns = n
	}
	return o
}
