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

var peersScenario = scenario{
	name: "peers", measure: measurePeers,
	own: own{rate: 100},
	headline: []string{
		"homing_us_per_delivery", "socketio_us_per_delivery", "centrifuge_us_per_delivery",
		"homing_peak_deliveries_per_s", "socketio_peak_deliveries_per_s", "centrifuge_peak_deliveries_per_s",
	},
}

// measurePeers measures Homing and its peers under the same load on this
// machine, one after the other.
func measurePeers(ctx context.Context, r *run) error {
	if r.opts.Rooms {
		return comparePlay(ctx, r)
	}
	if r.opts.Topics {
		r.opts.Peers = slices.DeleteFunc(slices.Clone(r.opts.Peers), func(name string) bool { return !peers.HasTopics(name) })
	}
	for _, name := range r.opts.Peers {
		if err := peers.Prepare(ctx, name, "", r.stderr); err != nil {
			return err
		}
	}
	var all []profile
	for _, name := range append([]string{homingName}, r.opts.Peers...) {
		r.say("%s", name)
		sys, err := startPeer(ctx, r, name)
		if err != nil {
			return err
		}
		p, err := profiled(ctx, r, setup{Options: r.opts, name: name, system: sys}, name)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	r.Tables = append(r.Tables, compare("Side by side", all))
	return nil
}

// startPeer starts Homing or one of its peers.
func startPeer(ctx context.Context, r *run, name string) (rig.System, error) {
	if name == homingName {
		return r.start(ctx, r.opts)
	}
	s, err := peers.Start(ctx, peers.Options{
		Name: name, Fronts: r.opts.workers(), Replicas: r.opts.Replicas, LogDir: r.opts.LogDir,
	})
	if err != nil {
		return nil, err
	}
	r.addSetup(name, s.Versions(), s.Settings())
	return s, nil
}

// addSetup adds what of a peer runs, and how.
func (r *run) addSetup(name string, versions map[string]string, settings []string) {
	for _, part := range slices.Sorted(maps.Keys(versions)) {
		r.Setup = append(r.Setup, report.Fact{Name: name + ": " + part, Value: versions[part]})
	}
	for _, line := range settings {
		r.Setup = append(r.Setup, report.Fact{Name: name, Value: line})
	}
}
