package bench

import (
	"context"
	"maps"
	"slices"

	"github.com/homing/homing/bench/peers"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

const homingName = "homing"

// peers measures Homing and its peers under the same load on this machine,
// one after the other.
func (r *run) peers(ctx context.Context) error {
	for _, name := range r.opts.Peers {
		if err := peers.Prepare(ctx, name, "", r.stderr); err != nil {
			return err
		}
	}
	var all []profile
	for _, name := range append([]string{homingName}, r.opts.Peers...) {
		r.say("%s", name)
		sys, err := r.peer(ctx, name)
		if err != nil {
			return err
		}
		err = r.on(ctx, name, r.opts, sys, func(g *rig.Rig) error {
			p, err := r.profile(ctx, name, g, r.opts)
			all = append(all, p)
			return err
		})
		if err != nil {
			return err
		}
		r.addProfile(all[len(all)-1])
	}
	r.Tables = append(r.Tables, compare("Side by side", all))
	return nil
}

// peer starts Homing or one of its peers.
func (r *run) peer(ctx context.Context, name string) (rig.System, error) {
	if name == homingName {
		return r.system(ctx, r.opts)
	}
	s, err := peers.Start(ctx, peers.Options{
		Name: name, Fronts: r.opts.workers(), Replicas: r.opts.Replicas, LogDir: r.opts.LogDir,
	})
	if err != nil {
		return nil, err
	}
	versions := s.Versions()
	for _, part := range slices.Sorted(maps.Keys(versions)) {
		r.Setup = append(r.Setup, report.Fact{Name: name + ": " + part, Value: versions[part]})
	}
	for _, line := range s.Settings() {
		r.Setup = append(r.Setup, report.Fact{Name: name, Value: line})
	}
	return s, nil
}
