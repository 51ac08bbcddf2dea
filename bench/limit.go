package bench

import (
	"context"
	"errors"
	"math"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/rig"
)

// limitAlone is the scenario limit.
func (r *run) limitAlone(ctx context.Context) error { return r.limit(ctx, r.opts) }

// limit measures the bare program under the same load, in as many processes
// as the front has workers.
func (r *run) limit(ctx context.Context, o Options) (err error) {
	argv, env, err := helperCommand(helperBare)
	if err != nil {
		return err
	}
	server, err := bare.Start(ctx, argv, env, o.workers(), r.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	o.Agents = nil // the bare program listens on loopback: its clients are here
	hive, err := r.hive(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hive.Stop()) }()
	res, v, err := r.flood(ctx, o, server, hive)
	if err != nil {
		return err
	}
	if math.IsNaN(r.Get("conns")) {
		r.Add("conns", float64(o.Conns), "connections held")
		r.Add("expected", float64(v.Expected), "deliveries due")
		r.Add("lost", float64(v.Lost), "of those, never seen")
		r.Add("deliveries", float64(res.Written), "messages written")
		r.Add("deliveries_per_s", float64(res.Written)/res.Took.Seconds(), "messages per second")
	}
	r.Add("limit_us_per_delivery", float64(res.CPU.Microseconds())/float64(res.Written), "µs of CPU per message of a bare program with the same sockets and bytes")
	r.Add("front_to_limit", r.Get("front_us_per_delivery")/r.Get("limit_us_per_delivery"), "front CPU per message as a multiple of that")
	return nil
}

func (r *run) flood(ctx context.Context, o Options, server *bare.Limit, hive *clients.Hive) (res bare.Result, v clients.Verdict, err error) {
	r.say("connecting %d clients to the bare program", o.Conns)
	if _, err := hive.Connect(ctx, clients.Target{Fronts: server.URLs(), Conns: o.Conns}, nil); err != nil {
		return res, v, err
	}
	l := bare.Load{Plan: o.plan(), Broadcast: r.toAll, Rate: o.Rate, Duration: o.Duration, Payload: o.Payload}
	r.say("measuring the bare limit for %v", l.Duration)
	if res, err = server.Flood(ctx, l); err != nil {
		return res, v, err
	}
	if _, err := rig.Drain(ctx, hive); err != nil {
		return res, v, err
	}
	v, err = hive.Verify(ctx, l.Plan, clients.Sent{N: res.Notifications})
	return res, v, err
}
