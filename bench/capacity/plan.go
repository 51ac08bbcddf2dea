package capacity

import "math"

// Plan is what a deployment needs. All counts are for all cells together.
type Plan struct {
	Users   float64 `json:"users"`
	Cells   int     `json:"cells"`
	Fits    bool    `json:"fits"`      // within every limit
	NoEnd   bool    `json:"runs_away"` // no number of workers and shards is enough: the counts mean nothing
	Traffic Traffic `json:"traffic"`

	Components []Component `json:"components"`
	Redis      Redis       `json:"redis"`
	Network    []Hop       `json:"network"`
	Memory     Memory      `json:"memory"`
	Storm      Storm       `json:"storm"`

	Carries float64  `json:"users_one_cell_carries"` // 0: more than a plan is made for
	Limits  []Limit  `json:"limits"`                 // of one cell, the nearest first
	Growth  []Growth `json:"growth"`                 // of one cell
	Costs   Costs    `json:"costs"`                  // that it was computed from
	Assumed []string `json:"assumed"`                // beside those
}

// Traffic is per second, but for the envelopes of a request.
type Traffic struct {
	Requests   float64 `json:"requests_per_s"` // as the cells see them: those that concern several count several times
	Deliveries float64 `json:"deliveries_per_s"`
	Connects   float64 `json:"connects_per_s"`
	Envelopes  float64 `json:"envelopes_per_s"`
	PerRequest float64 `json:"envelopes_per_posted_request"`
	Acks       float64 `json:"acks_per_s"`
}

// Component is one kind of machine or process.
type Component struct {
	Name  string  `json:"name"`
	Count float64 `json:"count"`
	Bound string  `json:"bound_by"`
	Loads []Load  `json:"loads"`
}

// Load is the share of something that is used.
type Load struct {
	Of   string  `json:"of"`
	Used float64 `json:"used"`
}

// Redis is what all Redis servers are asked, per second.
type Redis struct {
	Publishes     float64 `json:"publishes_per_s"`
	Copies        float64 `json:"copies_per_s"` // at replicas
	LookUps       float64 `json:"keys_looked_up_per_s"`
	Registrations float64 `json:"registrations_per_s"`
	Probes        float64 `json:"probes_per_s"`      // INFO, canaries
	Leases        float64 `json:"leases_read_per_s"` // at the first data masters
	BytesPerShard float64 `json:"bytes_per_s_per_pubsub_shard"`
	BacklogS      float64 `json:"backlog_s"` // of replication that a replica may miss without a full copy
}

// Hop is the traffic from one kind of process to another.
type Hop struct {
	From  string  `json:"from"`
	Bytes float64 `json:"bytes_per_s"`
}

// Memory is in bytes.
type Memory struct {
	Connections float64 `json:"connections"` // user space
	Kernel      float64 `json:"kernel"`
	Processes   float64 `json:"processes"`
	Index       float64 `json:"index"` // in data Redis, replicas included
}

// Storm is everybody's return at once, beside the ordinary load.
type Storm struct {
	PerSecond float64 `json:"connects_per_s"` // that the fleet takes
	Seconds   float64 `json:"seconds"`        // until everybody is back
	Bound     string  `json:"bound_by"`
}

// Growth is one cell with more users than in the plan.
type Growth struct {
	Times     float64 `json:"times"`
	Users     float64 `json:"users_per_cell"`
	Envelopes float64 `json:"envelopes_per_request"`
	Workers   float64 `json:"workers"`
	Shards    float64 `json:"shards"`
	Acks      float64 `json:"acks_per_envelope"`
	Limit     string  `json:"tightest_limit"`
	Used      float64 `json:"used"`
	RunsAway  bool    `json:"runs_away"` // no number of workers and shards is enough
}

// Make computes the plan for in, whose values must be valid: the error is
// Validate's.
func Make(in Input, costs Costs) (*Plan, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	c, cells := divide(&in, costs)
	p := &Plan{Users: float64(in.Users), Cells: cells, Fits: c.fits(), NoEnd: c.runsAway(), Costs: costs, Assumed: assumed(&in)}
	n := float64(cells)
	p.Traffic = c.traffic(n)
	p.Components = c.components(n)
	p.Redis = c.redis(n)
	p.Network = c.hops(n)
	p.Memory = c.memory(n)
	p.Storm = c.stormOf(n)
	p.Carries = carries(&in, costs)
	p.Limits = limitsOf(&in, costs, c)
	p.Growth = growthOf(&in, costs, c)
	return p, nil
}

// limitShare is the most of any limit that a division into cells uses: what
// stands at the edge has nowhere to grow.
const limitShare = 0.5

// divide returns one of the cells that in asks for, or of the fewest that keep
// well within every limit.
func divide(in *Input, costs Costs) (*cell, int) {
	if in.Cells > 0 {
		return newCell(in, costs, in.Cells), in.Cells
	}
	for n := 1; ; n += max(1, n/20) {
		if c := newCell(in, costs, n); c.keepsTo(limitShare) || n >= maxCells {
			return c, n
		}
	}
}

func (c *cell) traffic(n float64) Traffic {
	t := Traffic{
		Requests: n * c.requests(), Deliveries: n * c.deliveries(), Connects: n * c.connects,
		Envelopes: n * c.envelopes, Acks: n * c.acks,
	}
	if posted := c.in.requests(); posted > 0 {
		t.PerRequest = t.Envelopes / posted
	}
	return t
}

func (c *cell) components(n float64) []Component {
	reps := float64(c.in.replicas())
	redis := c.redisMachines()
	published := c.envelopes + c.acks
	core := func(work, servers, asked float64) float64 { return (work/servers + asked) / second }
	user, kernel, processes := c.frontMemory()
	return []Component{
		{"front machines", n * c.fronts, c.bound["front"], []Load{
			{"CPU", core(c.frontWork(), c.workers, c.watching())},
			{"memory", (user + kernel + processes) / c.fronts / float64(c.in.Memory)},
			{"network", c.clientBytes() * 8 / c.fronts / float64(c.in.Network)},
		}},
		{"worker processes", n * c.workers, "one per core", []Load{
			{"descriptors", c.users / c.workers / float64(c.in.Descriptors)},
		}},
		{"API machines", n * c.apis, c.bound["api"], []Load{
			{"CPU", core(c.apiWork(), c.apis*float64(c.in.Cores), c.watching()/float64(c.in.Cores))},
			{"network", max(c.requestBytes()+c.lookUpBytes(), c.envelopeBytes()) * 8 / c.apis / float64(c.in.Network)},
		}},
		{"pub/sub shards", n * c.shards, c.bound["pubsub"], []Load{
			{"master's core", core(published*c.cost("redis_us_per_publish"), c.shards, c.asked())},
			{"replica's core", core(published*c.cost("redis_us_per_copy"), c.shards, c.asked())},
		}},
		{"pub/sub replicas", n * c.shards * reps, "zones", nil},
		{"data shards", n * c.data, c.bound["data"], []Load{
			{"first master's core", core(c.registrations(2*c.connects), c.data, c.askedOfData()+c.leases())},
			{"replica's core", core(c.registrations(2*c.connects)+c.lookUps()/c.dataReps, c.data, c.askedOfData())},
		}},
		{"data replicas", n * c.data * c.dataReps, c.bound["replicas"], nil},
		{"Sentinels", n * sentinels * c.groups, c.bound["sentinel"], []Load{
			{"core", c.processes() * math.Ceil((c.shards+c.data)/c.groups) * c.cost("sentinel_us_per_process") / second},
			{"clients", 2 * c.processes() * math.Ceil((c.shards+c.data)/c.groups) / c.clients()},
		}},
		{"Redis machines", n * redis, c.bound["redis"], []Load{
			{"network", (c.relayBytes()*(reps+1) + c.lookUpBytes()) * 8 / redis / float64(c.in.Network)},
		}},
	}
}

func (c *cell) redis(n float64) Redis {
	published := c.envelopes + c.acks
	r := Redis{
		Publishes: n * published, Copies: n * published * float64(c.in.replicas()),
		LookUps: n * c.targets(), Registrations: n * 2 * c.connects,
		Probes:        n * c.processes() * (2*c.servers() + c.shards),
		Leases:        n * c.apis * c.workers,
		BytesPerShard: c.relayBytes() / c.shards,
	}
	if r.BytesPerShard > 0 {
		r.BacklogS = backlog / r.BytesPerShard
	}
	return r
}

func (c *cell) hops(n float64) []Hop {
	reps := float64(c.in.replicas())
	return []Hop{
		{"backends to API", n * c.requestBytes()},
		{"API and data replicas", n * c.lookUpBytes()},
		{"API and workers to pub/sub masters", n * c.relayBytes()},
		{"masters to replicas", n * c.relayBytes() * reps},
		{"replicas to workers and API", n * c.relayBytes()},
		{"workers to players", n * c.clientBytes()},
	}
}

func (c *cell) memory(n float64) Memory {
	user, kernel, processes := c.frontMemory()
	return Memory{
		Connections: n * user, Kernel: n * kernel, Processes: n * processes,
		Index: n * c.users * c.cost("redis_bytes_per_user") * (1 + c.dataReps),
	}
}

func (c *cell) stormOf(n float64) Storm {
	spare := func(work, cores, asked, each float64) float64 {
		return max(0, cores*(stormShare*second-asked)-work) / max(each, 1e-9)
	}
	front := spare(c.frontWork(), c.workers, c.watching(), c.cost("front_us_per_connect"))
	data := spare(c.registrations(2*c.connects), c.data, c.askedOfData(), c.cost("redis_us_per_connect"))
	s := Storm{PerSecond: n * min(front, data), Bound: "workers' CPU"}
	if data < front {
		s.Bound = "data masters' cores"
	}
	if let := n * c.workers * admitted * c.in.AdmitRate; let > 0 && let < s.PerSecond {
		s.PerSecond, s.Bound = let, "what workers let in (front.admit-rate)"
	}
	if s.PerSecond > 0 {
		s.Seconds = n * c.users / s.PerSecond
	}
	return s
}

// growthOf shows one cell as its users double, whether it can or not.
func growthOf(in *Input, costs Costs, base *cell) []Growth {
	var out []Growth
	for times := 1.0; times <= 64; times *= 2 {
		if base.users == 0 || base.users*times > maxUsers {
			break
		}
		c := newCell(in.grown(base.users*times), costs, 1)
		l, used := c.tightest()
		g := Growth{
			Times: times, Users: c.users, Workers: c.workers, Shards: c.shards,
			Limit: l.name, Used: used, RunsAway: c.runsAway(),
		}
		if c.envelopes > 0 {
			g.Envelopes, g.Acks = c.envelopes/c.requests(), c.acks/c.envelopes
		}
		out = append(out, g)
		if used > 1 {
			break
		}
	}
	return out
}
