package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/homing/homing/bench/abuse"
	"github.com/homing/homing/bench/stack"
)

const (
	abuseTime = 10 * time.Second
	// abuseRate makes 5,000 deliveries a second with 150 users online.
	abuseRate = 5_000.0 / 150
	// abuseRedis is what each Redis may use: little, so that it could be filled.
	abuseRedis = 256 << 20
	// recovery is between two attacks.
	recovery = 2 * time.Second

	hostileKey  = "mallory"
	hostileFrom = "127.66.0.1"
	// noProxy stands in place of loopback, which is trusted by default and so
	// not limited by address.
	noProxy = "192.0.2.1"
	// homes is how many addresses the well-behaved players have.
	homes = 250
)

// What nobody else may notice of an attack, or one may, at most.
const (
	mayRatio = 2.0       // the others' p99, as a multiple of before
	mayFront = 192 << 20 // bytes that the front grows by, all workers
	mayRedis = abuseRedis * 3 / 4
)

var errHarmed = errors.New("others were harmed")

var abuseScenario = scenario{
	name: "abuse", measure: measureAbuse,
	own:      own{conns: 5_000, rate: abuseRate, duration: abuseTime, admitRate: stormAdmits},
	headline: []string{"kinds", "harmed", "worst_p99_ratio", "refused_in_attacks", "newcomers_failed", "failovers"},
}

// measureAbuse lets one attacker after another at a system under load, and looks what
// the others notice.
func measureAbuse(ctx context.Context, r *run) (err error) {
	o := r.opts
	kinds, err := chosenKinds(o)
	if err != nil {
		return err
	}
	argv, env, err := helperCommand(helperAbuse)
	if err != nil {
		return err
	}
	attacker, err := abuse.Start(argv, env, r.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, attacker.Stop()) }()
	sys, err := besieged(ctx, r)
	if err != nil {
		return err
	}
	return r.try(ctx, setup{Options: o, system: sys, homes: homes}, func(t *trial) error {
		s := siege{trial: t, system: sys, attacker: attacker}
		return s.endure(ctx, kinds)
	})
}

func chosenKinds(o Options) (kinds []abuse.Kind, err error) {
	if len(o.Kinds) == 0 {
		return abuse.Kinds(), nil
	}
	for _, name := range o.Kinds {
		k, ok := abuse.Find(name)
		if !ok {
			return nil, fmt.Errorf("--kinds: %q: want some of %s", name, strings.Join(abuse.Names(), ", "))
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

// besieged starts the system: as operators run it, with the limits that are
// the default, and Redis with little memory.
func besieged(ctx context.Context, r *run) (homing, error) {
	o := r.opts
	r.say("starting Redis, %d API and %d front worker processes", o.APIs, o.workers())
	so := o.stack()
	so.TLS, so.Keys = true, []string{hostileKey}
	so.FrontArgs = append(so.FrontArgs, "--front-trusted-proxies", noProxy)
	s, err := stack.Start(ctx, so)
	if err != nil {
		return homing{}, err
	}
	if err := s.Redis.LimitMemory(ctx, abuseRedis); err != nil {
		return homing{}, errors.Join(err, s.Stop(false))
	}
	return homing{Stack: s}, nil
}
