package bench

import (
	"context"
	"fmt"
	"strconv"
)

var growthScenario = scenario{
	name: "growth", measure: measureGrowth,
	own: own{rate: 100},
}

// measureGrowth measures systems that differ in one size: how cost grows with
// it, and what runs out first.
func measureGrowth(ctx context.Context, r *run) error {
	steps := r.opts.Steps
	if len(steps) == 0 {
		steps = map[string][]int{"conns": {1_000, 10_000, 50_000, 200_000}, "shards": {1, 2, 4}, "workers": {1, 2, 4, 8, 16}}[r.opts.By]
	}
	var all []profile
	for _, n := range steps {
		s := setup{Options: r.opts.grown(n), name: strconv.Itoa(n) + " " + r.opts.By}
		if err := s.Validate(); err != nil {
			return fmt.Errorf("--steps: %w", err)
		}
		r.say("%s", s.name)
		p, err := profiled(ctx, r, s, r.opts.By+"_"+strconv.Itoa(n))
		if err != nil {
			return err
		}
		all = append(all, p)
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
