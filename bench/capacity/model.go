package capacity

import "math"

// What the model takes from the source, and not from a measurement.
const (
	ackGather   = 0.09     // s that a receiver gathers before it confirms (hub/relay: 11 times a second at most)
	maxShards   = 64       // of one role in a configuration (redisx)
	maxReplicas = 31       // of one shard: redisx watches 32 servers
	poolSize    = 16       // connections of an API server to each data server, at most (redisx)
	backlog     = 64 << 20 // repl-backlog-size (deploy/redis)
	fillLevel   = 0.95     // share of its descriptors at which a worker closes its listener
	admitted    = 0.8      // of --admit-rate, to clients that were told to come back (front)
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

// What the benchmark of one delivery sent: its figures hold for this shape.
const (
	benchTargets   = 300
	benchOnline    = 150
	benchEnvelopes = 2
)

// stream is one kind of request that a cell serves.
type stream struct{ rate, targets, online float64 }

// cell is one deployment with its own Redis. Rates are per second, work is in
// µs of CPU per second.
type cell struct {
	in    *Input
	costs Costs

	// alone leaves out of the sizes what processes ask of Redis each second,
	// which is what makes the sizes run away together.
	alone bool

	users, connects, storm float64
	streams                []stream

	fronts, apis           float64 // machines
	workers                float64 // processes
	shards, data, dataReps float64 // masters of both roles; replicas of each data master
	groups                 float64 // of Sentinels

	envelopes, acks float64
	bound           map[string]string // what a count is due to
}

// distinct is how many of n boxes are expected to hold one of k balls.
func distinct(n, k float64) float64 {
	if n <= 1 || k <= 1 {
		return min(n, k)
	}
	return min(k, -n*math.Expm1(k*math.Log1p(-1/n)))
}

// newCell is one of so many cells that divide the users of in.
func newCell(in *Input, costs Costs, cells int) *cell {
	c := unsettled(in, costs, cells)
	c.settle()
	return c
}

func unsettled(in *Input, costs Costs, cells int) *cell {
	n := float64(cells)
	c := &cell{in: in, costs: costs, bound: make(map[string]string)}
	c.users = float64(in.Users) / n
	c.connects = c.users * in.Churn / 3600
	if in.Storm > 0 {
		c.storm = c.users / (60 * in.Storm)
	}
	c.streams = streams(in, cells)
	return c
}

// streams are the requests that one cell serves: those whose users are mostly
// here, and parts of the others'.
func streams(in *Input, cells int) []stream {
	rate, targets, online := in.requests()/float64(cells), float64(in.Targets), float64(in.Online)
	if cells == 1 {
		return []stream{{rate, targets, online}}
	}
	away := 1 - in.Local
	elsewhere := distinct(float64(cells-1), targets*away)
	out := []stream{{rate, targets * in.Local, online * in.Local}}
	if elsewhere > 0 {
		out = append(out, stream{rate * elsewhere, targets * away / elsewhere, online * away / elsewhere})
	}
	return out
}

// sum adds up f over all requests of a second.
func (c *cell) sum(f func(s stream) float64) (total float64) {
	for _, s := range c.streams {
		total += s.rate * f(s)
	}
	return total
}

func (c *cell) requests() float64   { return c.sum(func(stream) float64 { return 1 }) }
func (c *cell) targets() float64    { return c.sum(func(s stream) float64 { return s.targets }) }
func (c *cell) deliveries() float64 { return c.sum(func(s stream) float64 { return s.online }) }

// settle finds the sizes that hold each other up: more workers make more
// envelopes, which need more shards, which every worker watches. Sizes only
// grow, so it ends.
func (c *cell) settle() {
	c.fronts, c.apis, c.workers, c.shards, c.data, c.groups = 1, 1, 1, 1, 1, 1
	c.dataReps = float64(c.in.replicas())
	for range 500 {
		before := [...]float64{c.workers, c.apis, c.shards, c.data, c.dataReps, c.groups}
		c.relayed()
		c.sizeFront()
		c.sizeAPI()
		c.sizePubSub()
		c.sizeData()
		c.sizeSentinels()
		if before == [...]float64{c.workers, c.apis, c.shards, c.data, c.dataReps, c.groups} {
			break
		}
	}
}

// relayed counts what travels between processes.
func (c *cell) relayed() {
	c.envelopes = c.sum(func(s stream) float64 { return distinct(c.workers, s.online) })
	pairs := c.apis * c.workers
	c.acks = c.envelopes / (1 + c.envelopes/pairs*ackGather)
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

// frontWork is the work of all workers, without what each spends on its own.
func (c *cell) frontWork() float64 {
	write := c.cost("front_us_per_delivery") - c.cost("front_us_per_envelope")*benchEnvelopes/benchOnline
	return c.deliveries()*max(0, write) +
		c.envelopes*c.cost("front_us_per_envelope") +
		c.acks*c.cost("api_us_per_envelope") +
		c.connects*c.cost("front_us_per_connect") +
		c.users*c.cost("front_idle_us_per_conn")
}

// frontMemory is the memory of the front machines: the connections' own, the
// kernel's for them, and the processes'.
func (c *cell) frontMemory() (user, kernel, processes float64) {
	return c.users * c.cost("kib_per_conn") * 1024, c.users * c.cost("kernel_kib_per_conn") * 1024, c.workers * processBytes
}

func (c *cell) sizeFront() {
	cores := float64(c.in.Cores)
	user, kernel, _ := c.frontMemory()
	room := memoryShare*float64(c.in.Memory) - cores*processBytes
	machines := c.pick("front", 1,
		candidate{"CPU", c.frontWork() / c.core(c.in.Headroom, c.watching()) / cores},
		candidate{"CPU in a reconnect storm", (c.frontWork() + c.storm*c.cost("front_us_per_connect")) / c.core(stormShare, c.watching()) / cores},
		candidate{"memory", (user + kernel) / room},
		candidate{"network", c.clientBytes() / c.wire()},
		candidate{"descriptors", c.users / (fillLevel * float64(c.in.Descriptors)) / cores},
		candidate{"zones", float64(c.in.Zones)},
	)
	c.fronts = max(c.fronts, c.zoned(machines))
	c.workers = c.fronts * cores
}

// wire is the bytes per second to plan for on one machine's network.
func (c *cell) wire() float64 { return c.in.Headroom * float64(c.in.Network) / 8 }

// apiWork is the work of all API servers, without what each spends on its own.
// A confirmation is taken to cost what an envelope does on its way.
func (c *cell) apiWork() float64 {
	request, envelope := c.cost("api_us_per_request"), c.cost("api_us_per_envelope")
	target := max(0, c.cost("api_us_per_delivery")*benchOnline-request-envelope*benchEnvelopes) / benchTargets
	return c.requests()*request + c.targets()*target + c.envelopes*envelope + c.acks*c.cost("front_us_per_envelope")
}

func (c *cell) sizeAPI() {
	cores := float64(c.in.Cores)
	machines := c.pick("api", 1,
		candidate{"CPU", c.apiWork() / (cores * c.core(c.in.Headroom, c.watching()/cores))},
		candidate{"network", max(c.requestBytes()+c.lookUpBytes(), c.envelopeBytes()) / c.wire()},
		candidate{"zones", float64(c.in.Zones)},
	)
	c.apis = max(c.apis, c.zoned(machines))
}

// asked is what all processes together ask of one pub/sub server.
func (c *cell) asked() float64 { return c.processes() * c.cost("pubsub_us_per_process") }

// askedOfData is what they ask of one data server.
func (c *cell) askedOfData() float64 { return c.processes() * c.cost("data_us_per_process") }

func (c *cell) sizePubSub() {
	published := c.envelopes + c.acks
	room := c.core(c.in.Headroom, c.asked())
	c.shards = c.pick("pubsub", c.shards,
		candidate{"the least", 1},
		candidate{"Redis master's core", published * c.cost("redis_us_per_publish") / room},
		candidate{"Redis replica's core", published * c.cost("redis_us_per_copy") / room},
	)
}

// registrations is the work of all data masters for who comes and goes.
func (c *cell) registrations(comeAndGo float64) float64 {
	return comeAndGo * c.cost("redis_us_per_connect")
}

// lookUps is the work of all data replicas: every key, and a command for every
// shard but the first that a request's users are on.
func (c *cell) lookUps() float64 {
	more := c.sum(func(s stream) float64 { return max(0, distinct(c.data, s.targets)-1) })
	return c.targets()*c.cost("redis_us_per_look_up") + more*c.cost("redis_us_per_command")
}

// leases is what the first data master does to tell every API server each
// second which processes live.
func (c *cell) leases() float64 { return c.apis * c.workers * c.cost("redis_us_per_lease") }

// readRoom is what a data replica has for look-ups: it writes what its master does.
func (c *cell) readRoom() float64 {
	return c.core(c.in.Headroom, c.askedOfData()+c.registrations(2*c.connects)/c.data)
}

func (c *cell) sizeData() {
	own := memoryShare * float64(c.in.Memory) / float64(c.in.Cores)
	c.data = c.pick("data", c.data,
		candidate{"the least", 1},
		candidate{"Redis master's core", c.registrations(2*c.connects) / c.core(c.in.Headroom, c.askedOfData())},
		candidate{"master's core in a reconnect storm", c.registrations(2*c.connects+c.storm) / c.core(stormShare, c.askedOfData())},
		candidate{"memory", c.users * c.cost("redis_bytes_per_user") / max(own-backlog, own/2)},
	)
	c.data = c.pick("data", c.data, candidate{"replicas' cores", c.lookUps() / (maxReplicas * c.readRoom())})
	replicas := c.pick("replicas", c.dataReps,
		candidate{"zones", float64(c.in.replicas())},
		candidate{"Redis replica's core", c.lookUps() / c.data / c.readRoom()},
	)
	c.dataReps = min(replicas, maxReplicas)
}

// sizeSentinels divides the shards over groups of Sentinels: each process asks
// every Sentinel about every shard that it watches, over connections of its own.
func (c *cell) sizeSentinels() {
	byCPU := c.in.Headroom * second / (c.processes() * c.cost("sentinel_us_per_process"))
	byClients := float64(c.in.Clients) / (2 * c.processes())
	all := c.shards + c.data
	c.groups = c.pick("sentinel", c.groups,
		candidate{"the least", 1},
		candidate{"clients", all / max(1, math.Floor(byClients))},
		candidate{"Sentinel's core", all / max(1, math.Floor(byCPU))},
	)
}

// envelopeBytes is what leaves the API servers for the workers.
func (c *cell) envelopeBytes() float64 {
	return c.envelopes*float64(frameBytes+c.in.Size) + c.deliveries()*userBytes
}

// relayBytes is what passes one server of every pub/sub shard.
func (c *cell) relayBytes() float64 { return c.envelopeBytes() + c.acks*ackBytes }

// clientBytes is what the front sends to the players.
func (c *cell) clientBytes() float64 { return c.deliveries() * float64(c.in.Size+packetBytes) }

// requestBytes is what backends send.
func (c *cell) requestBytes() float64 {
	return c.requests()*float64(requestBytes+c.in.Size) + c.targets()*userBytes
}

// lookUpBytes is what passes between API servers and data Redis.
func (c *cell) lookUpBytes() float64 { return c.targets() * keyBytes }

// redisMachines is how many machines the Redis servers and Sentinels need,
// with one server on each core.
func (c *cell) redisMachines() float64 {
	reps := float64(c.in.replicas())
	servers := c.servers() + sentinels*c.groups
	stored := c.users*c.cost("redis_bytes_per_user")*(1+c.dataReps) + servers*(backlog+processBytes)
	sent := c.relayBytes()*(reps+1) + c.lookUpBytes()
	n := c.pick("redis", 1,
		candidate{"Redis cores", servers / float64(c.in.Cores)},
		candidate{"memory", stored / (memoryShare * float64(c.in.Memory))},
		candidate{"network", sent / c.wire()},
		candidate{"zones", float64(c.in.Zones)},
	)
	return c.zoned(n)
}
