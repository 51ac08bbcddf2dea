package capacity

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
	all := total{c, float64(cells)}
	p.Traffic = all.traffic()
	p.Components = all.components()
	p.Redis = all.redis()
	p.Network = all.hops()
	p.Memory = all.memory()
	p.Storm = all.storm()
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
