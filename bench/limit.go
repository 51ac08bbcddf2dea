package bench

import (
	"context"
	"errors"
	"math"

	"github.com/homing/homing/bench/bare"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/rig"
)

var limitScenario = scenario{
	name: "limit", measure: measureLimit,
	own: own{rate: 100},
}

// measureLimit measures the bare program alone.
func measureLimit(ctx context.Context, r *run) error { return limit(ctx, r, setup{Options: r.opts}) }

// limit measures the bare program under the same load, in as many processes
// as the front has workers.
func limit(ctx context.Context, r *run, s setup) (err error) {
	argv, env, err := helperCommand(helperBare)
	if err != nil {
		return err
	}
	server, err := bare.Start(ctx, argv, env, s.workers(), r.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	s.Agents = nil // the bare program listens on loopback: its clients are here
	hive, err := s.hive(ctx, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hive.Stop()) }()
	res, v, err := flood(ctx, r, s, server, hive)
	if err != nil {
		return err
	}
	if math.IsNaN(r.Get("conns")) {
		r.Add("conns", float64(s.Conns), "connections held")
		r.Add("expected", float64(v.Expected), "deliveries due")
		r.Add("lost", float64(v.Lost), "of those, never seen")
		r.Add("deliveries", float64(res.Written), "messages written")
		r.Add("deliveries_per_s", float64(res.Written)/res.Took.Seconds(), "messages per second")
	}
	r.Add("limit_us_per_delivery", float64(res.CPU.Microseconds())/float64(res.Written), "µs of CPU per message of a bare program with the same sockets and bytes")
	r.Add("front_to_limit", r.Get("front_us_per_delivery")/r.Get("limit_us_per_delivery"), "front CPU per message as a multiple of that")
	return nil
}

// flood has the bare program send what a front would.
func flood(ctx context.Context, r *run, s setup, server *bare.Limit, hive *clients.Hive) (res bare.Result, v clients.Verdict, err error) {
	r.say("connecting %d clients to the bare program", s.Conns)
	if _, err := hive.Connect(ctx, clients.Target{Fronts: server.URLs(), Conns: s.Conns}, nil); err != nil {
		return res, v, err
	}
	l := bare.Load{Plan: s.plan(), Broadcast: s.toAll, Rate: s.Rate, Duration: s.Duration, Payload: s.Payload}
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
