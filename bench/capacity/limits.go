package capacity

import (
	"math"
	"slices"
)

// limit is something that more machines of the same kind do not move.
type limit struct {
	name string
	used func(c *cell) float64 // 1: all of it
	then string
}

// limits are all that stand in the way of one cell's growth.
func limits() []limit {
	return []limit{
		{
			"pub/sub shards in one configuration", func(c *cell) float64 { return c.shards / maxShards },
			"cells; or sharded Pub/Sub in Redis Cluster, where a process subscribes on one shard instead of all",
		},
		{
			"data shards in one configuration", func(c *cell) float64 { return c.data / maxShards },
			"cells; or Redis Cluster for the index",
		},
		{
			"connections to a pub/sub master", func(c *cell) float64 { return 2 * c.processes() / c.clients() },
			"a higher maxclients; one subscriber per machine that hands on to its workers",
		},
		{
			"connections to a data server", func(c *cell) float64 { return (2*c.workers + (1+poolSize)*c.apis) / c.clients() },
			"a higher maxclients; one registrar per machine",
		},
		{
			"connections to a Sentinel", func(c *cell) float64 { return 2 * c.processes() / c.clients() },
			"a higher maxclients; one topology watcher per machine",
		},
		{
			"a Sentinel's core", func(c *cell) float64 { return c.processes() * c.cost("sentinel_us_per_process") / c.planned() },
			"one topology watcher per machine instead of one per process",
		},
		{
			"a pub/sub server's core, for probes alone", func(c *cell) float64 { return pubsub{c}.asked() / c.planned() },
			"probes per machine instead of per process; cells",
		},
		{
			"the first data master's core, for probes and leases", func(c *cell) float64 { return (index{c}.asked() + index{c}.leases()) / c.planned() },
			"leases told by one server to the others of its zone; cells",
		},
		{
			"a worker's core, for watching Redis alone", func(c *cell) float64 { return c.watching() / c.planned() },
			"one topology watcher per machine instead of one per process; cells",
		},
	}
}

// Limit says how far one cell can grow before something gives.
type Limit struct {
	Name  string  `json:"limit"`
	Used  float64 `json:"used"`           // of it, by one cell of the plan; 1 is all
	Users float64 `json:"users_per_cell"` // how many it alone would carry; 0: more than a plan is made for
	Then  string  `json:"then"`
}

// tightest returns the limit of which c uses most.
func (c *cell) tightest() (l limit, used float64) {
	for _, x := range limits() {
		if u := x.used(c); u > used || l.name == "" {
			l, used = x, u
		}
	}
	return l, used
}

// runsAway reports whether servers and processes are busy with each other
// alone: then no number of them is enough.
func (c *cell) runsAway() bool {
	return max(pubsub{c}.asked(), index{c}.asked(), c.watching()) > c.planned()
}

func (c *cell) fits() bool { return c.keepsTo(1) }

// keepsTo reports whether c uses no more than a share of any limit.
func (c *cell) keepsTo(share float64) bool {
	_, used := c.tightest()
	return used <= share
}

// grown is in with other users, in one cell, and everything else in proportion.
func (in *Input) grown(users float64) *Input {
	g := *in
	if in.Users > 0 {
		g.Rate = in.Rate * users / float64(in.Users)
	}
	g.Users = Count(users)
	return &g
}

// farthest is the largest number of users, to two digits, for which keeps
// holds, if it holds up to some number; 0 when that is beyond any plan.
func farthest(keeps func(users float64) bool) float64 {
	if keeps(maxUsers) {
		return 0
	}
	low, high := 0.0, math.Log(maxUsers)
	for range 30 {
		if mid := (low + high) / 2; keeps(math.Exp(mid)) {
			low = mid
		} else {
			high = mid
		}
	}
	users := math.Exp(low)
	digit := math.Pow(10, math.Floor(math.Log10(users))-1)
	return math.Floor(users/digit) * digit
}

// carries is how many users one cell carries, everything together.
func carries(in *Input, costs Costs) float64 {
	return farthest(func(users float64) bool { return newCell(in.grown(users), costs, 1).fits() })
}

// carriesAlone is how many l would let one cell carry if nothing else stood in
// the way.
func carriesAlone(in *Input, costs Costs, l limit) float64 {
	return farthest(func(users float64) bool {
		c := unsettled(in.grown(users), costs, 1)
		c.alone = true
		c.settle()
		return l.used(c) <= 1
	})
}

// limitsOf are the limits of one cell like c, the nearest first.
func limitsOf(in *Input, costs Costs, c *cell) []Limit {
	var out []Limit
	for _, l := range limits() {
		out = append(out, Limit{l.name, l.used(c), carriesAlone(in, costs, l), l.then})
	}
	slices.SortStableFunc(out, func(a, b Limit) int {
		switch {
		case a.Users == b.Users:
			return 0
		case b.Users == 0 || a.Users > 0 && a.Users < b.Users:
			return -1
		}
		return 1
	})
	return out
}
