package capacity

import "math"

// What the model takes from the source, and not from a measurement. A test holds
// each to where it comes from.
const (
	ackGather   = 0.09     // s that a receiver gathers before it confirms: 11 times a second at most (hub/relay)
	maxShards   = 64       // of one role in a configuration (redisx)
	maxReplicas = 31       // of one shard, beside its master (redisx)
	poolSize    = 16       // connections of an API server to each data server, at most (redisx)
	backlog     = 64 << 20 // repl-backlog-size (deploy/redis)
	fillLevel   = 0.95     // share of its descriptors at which a worker closes its listener (front/loop)
	admitted    = 0.8      // of --admit-rate, to clients that were told to come back (front/admission)
)

// What the model assumes.
const (
	stormShare   = 0.9      // of a core, while everybody comes back
	memoryShare  = 0.8      // of a machine's memory
	processBytes = 32 << 20 // of a process before it does anything
	packetBytes  = 66       // Ethernet, IP and TCP headers of one small message
	userBytes    = 16       // a user's id and its length
	frameBytes   = 130      // an envelope, its relay header and channel name, without users and payload
	ackBytes     = 100      // a confirmation, likewise
	requestBytes = 250      // a request's headers, without users and payload
	keyBytes     = 58       // a key in an MGET and its value
	sentinels    = 3        // of a group
	leastShare   = 0.02     // of a core: below it a server does nothing but answer probes
)

// What the benchmark of one delivery sent, by default: its figures hold for this
// shape.
const (
	benchTargets   = 300
	benchOnline    = 150
	benchEnvelopes = 2
)

// sizes are how many there are of what a cell consists of.
type sizes struct {
	fronts, apis           float64 // machines
	workers                float64 // processes
	shards, data, dataReps float64 // masters of both roles; replicas of each data master
	groups                 float64 // of Sentinels
}

// cell is one deployment with its own Redis: what it is asked to do, and its
// sizes. What its parts need is told by front, api, pubsub, index, sentinel and
// redisMachines, in µs of CPU per second where it is work.
type cell struct {
	workload
	sizes

	costs Costs
	bound map[string]string // what a count is due to

	// alone leaves out of the sizes what processes ask of Redis each second,
	// which is what makes the sizes run away together.
	alone bool
}

// newCell is one of so many cells that divide the users of in.
func newCell(in *Input, costs Costs, cells int) *cell {
	c := unsettled(in, costs, cells)
	c.settle()
	return c
}

func unsettled(in *Input, costs Costs, cells int) *cell {
	return &cell{workload: share(in, cells), costs: costs, bound: make(map[string]string)}
}

// settle finds the sizes that hold each other up: more workers make more
// envelopes, which need more shards, which every worker watches. Sizes only
// grow, so it ends.
func (c *cell) settle() {
	c.sizes = sizes{fronts: 1, apis: 1, workers: 1, shards: 1, data: 1, dataReps: float64(c.in.replicas()), groups: 1}
	for range 500 {
		before := c.sizes
		c.relay(c.apis, c.workers)
		front{c}.size()
		api{c}.size()
		pubsub{c}.size()
		index{c}.size()
		sentinel{c}.size()
		if c.sizes == before {
			break
		}
	}
}

// candidate is a count that something asks for.
type candidate struct {
	why   string
	count float64
}

// pick returns the largest count, at least what there was, and notes why.
func (c *cell) pick(name string, had float64, all ...candidate) float64 {
	for _, x := range all {
		if n := math.Ceil(x.count - 1e-9); n > had || c.bound[name] == "" {
			had, c.bound[name] = max(n, had), x.why
		}
	}
	return had
}

// zoned rounds machines up so that every zone has as many.
func (c *cell) zoned(machines float64) float64 {
	z := float64(c.in.Zones)
	return z * math.Ceil(machines/z-1e-9)
}

func (c *cell) processes() float64 { return c.workers + c.apis }

// servers is the number of Redis servers, without Sentinels.
func (c *cell) servers() float64 {
	return c.shards*float64(1+c.in.replicas()) + c.data*(1+c.dataReps)
}

// watching is what one process spends on asking after all Redis servers.
func (c *cell) watching() float64 { return c.servers() * c.cost("process_us_per_node") }

func (c *cell) cost(name string) float64 { return c.costs.Value(name) }

// core is what one core has for work beside what is spent anyway.
func (c *cell) core(share, spent float64) float64 {
	if c.alone {
		return share * second
	}
	return max(share*second-spent, leastShare*second)
}

// wire is the bytes per second to plan for on one machine's network.
func (c *cell) wire() float64 { return c.in.Headroom * float64(c.in.Network) / 8 }

// planned is what may be used of one core.
func (c *cell) planned() float64 { return c.in.Headroom * second }

func (c *cell) clients() float64 { return float64(c.in.Clients) }

// coreLoad is how full each of so many cores is that divide work, and are asked
// something beside.
func coreLoad(work, cores, asked float64) float64 { return (work/cores + asked) / second }

// spare is how often a second such cores could do something more that takes
// each µs, when they do as much as in a reconnect storm.
func spare(work, cores, asked, each float64) float64 {
	return max(0, cores*(stormShare*second-asked)-work) / max(each, 1e-9)
}
