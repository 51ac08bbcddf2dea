package bench

import (
	"context"
	"slices"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/peers"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
)

var clientsScenario = scenario{
	name: "clients", measure: measureClients,
	own: own{conns: 20_000, rate: 100},
	headline: []string{
		"kib_per_conn_native", "kib_per_conn_socketio", "kib_per_conn_events", "kib_per_conn_polling",
		"socketio_to_native_per_delivery", "socketio_to_npm_per_connect", "polling_foreign_p50_ms_over_native",
	},
}

// clientKinds are the ways in which clients connect to Homing.
var clientKinds = []struct {
	name    string
	dialect clients.Dialect
}{
	{"native", clients.Homing}, {"socketio", clients.SocketIO}, {"upgraded", clients.Upgraded}, {"events", clients.Events}, {"polling", clients.Polling},
}

// npmName is what figures of the reference implementation end with.
const npmName = "npm_socketio"

// measureClients measures what a client costs by how it connects, each kind on a fresh
// system, and what one of npm's Socket.IO costs that.
func measureClients(ctx context.Context, r *run) error {
	// A worker has two descriptors for a client that polls.
	r.opts.Workers = max(r.opts.Workers, (2*r.opts.Conns+workerConns-1)/workerConns)
	if r.opts.NPM {
		if err := peers.Prepare(ctx, "socketio", "", r.stderr); err != nil {
			return err
		}
	}
	var all []profile
	for _, kind := range clientKinds {
		o := r.opts
		o.Clients = string(kind.dialect)
		p, err := held(ctx, r, setup{Options: o, name: kind.name})
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	if r.opts.NPM {
		r.say("npm's socket.io")
		sys, err := startPeer(ctx, r, "socketio")
		if err != nil {
			return err
		}
		p, err := held(ctx, r, setup{Options: r.opts, name: npmName, system: sys})
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	r.addKinds(all)
	return compareForeign(ctx, r)
}

// held is the profile of a system at rest and under load.
func held(ctx context.Context, r *run, s setup) (p profile, err error) {
	r.say("%s", s.name)
	p.name, p.conns = s.name, s.Conns
	err = r.try(ctx, s, func(t *trial) error {
		// As idle rests: garbage of the handshakes is collected, and there are pings.
		if err := p.hold(ctx, t, min(settle+idleTime, 4*t.opts.Duration)); err != nil {
			return err
		}
		return p.bear(ctx, t)
	})
	return p, err
}

// addKinds adds figures that end with the names of profiles, and sets them side by
// side.
func (r *run) addKinds(all []profile) {
	figures := []string{
		"kib_per_conn", "front_us_per_connect", "front_us_per_delivery", "connects_per_s", "kernel_kib_per_conn", "api_us_per_delivery", "redis_us_per_delivery",
		"p50_ms", "p99_ms", "lost",
	}
	rows := slices.DeleteFunc(profileRows(), func(row profileRow) bool { return !slices.Contains(figures, row.figure) })
	for _, row := range rows {
		for _, p := range all {
			r.Add(row.figure+"_"+p.name, row.value(p), row.label+", "+p.name)
		}
	}
	ratio := func(figure, a, b string) float64 { return r.Get(figure+"_"+a) / r.Get(figure+"_"+b) }
	r.Add("socketio_to_native_per_delivery", ratio("front_us_per_delivery", "socketio", "native"), "front CPU per message over Socket.IO as a multiple of native")
	if r.opts.NPM {
		r.Add("socketio_to_npm_per_delivery", ratio("front_us_per_delivery", "socketio", npmName), "the same as a share of npm's")
		r.Add("socketio_to_npm_per_connect", ratio("front_us_per_connect", "socketio", npmName), "front CPU per connect as a share of npm's")
	}
	for _, p := range all {
		r.noteSmallLoad(p.load)
	}
	if r.opts.Conns < leastConns {
		r.noteFewConns(r.opts)
	}
	r.Tables = append(r.Tables, sideBySide("Side by side", rows, all))
}

const (
	// foreignConns is how many clients are held at most where one message after the
	// other goes to one of them.
	foreignConns = 2_000
	foreignRate  = 100 // of those messages a second
)

// compareForeign compares how long one message takes to one client that polls at
// another front than the one that has its session, with what it takes to a native one,
// on the same two fronts.
func compareForeign(ctx context.Context, r *run) error {
	p50 := make(map[clients.Dialect]float64)
	for _, d := range []clients.Dialect{clients.Homing, clients.Foreign} {
		l, err := single(ctx, r, d)
		if err != nil {
			return err
		}
		p50[d] = l.Percentile(50)
	}
	r.Add("native_single_p50_ms", p50[clients.Homing], "ms from the schedule's instant to a native client, one message at a time")
	r.Add("polling_foreign_p50_ms", p50[clients.Foreign], "the same, to a client that polls at another front than its session's")
	r.Add("polling_foreign_p50_ms_over_native", p50[clients.Foreign]-p50[clients.Homing], "ms that this takes longer")
	return nil
}

// single has one message after the other go to one client each.
func single(ctx context.Context, r *run, d clients.Dialect) (l rig.Load, err error) {
	o := r.opts
	o.Conns, o.Targets, o.Online, o.Rate, o.Clients = min(o.Conns, foreignConns), 1, 1, foreignRate, string(d)
	so := o.stack()
	so.Fronts, so.Workers = 2, 1
	r.say("%s, on two fronts", d)
	s, err := stack.Start(ctx, so)
	if err != nil {
		return l, err
	}
	err = r.try(ctx, setup{Options: o, name: string(d) + " on two fronts", system: homing{s, o.Clients}}, func(t *trial) error {
		if _, err := t.rig.Connect(ctx, 0); err != nil {
			return err
		}
		if err := t.rig.Warm(ctx, o.Rate, min(time.Second, o.Duration)); err != nil {
			return err
		}
		if l, err = t.rig.Load(ctx, o.Rate, o.Duration); err != nil {
			return err
		}
		v, err := t.rig.Verify(ctx)
		r.Add("wrong_single_"+string(d), float64(v.Lost+v.Duplicated+v.Stray), "of these, never seen, seen twice, or seen by others")
		return err
	})
	return l, err
}
