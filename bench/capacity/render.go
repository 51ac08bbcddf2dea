package capacity

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Write prints p as tables.
func (p *Plan) Write(w io.Writer) error {
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	p.writeHead(t)
	if !p.NoEnd {
		p.writeTraffic(t)
		p.writeComponents(t)
		p.writeRedis(t)
	}
	p.writeLimits(t)
	p.writeGrowth(t)
	p.writeBasis(t)
	if err := t.flush(); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	return nil
}

// table keeps the first error of many lines.
type table struct {
	w   *tabwriter.Writer
	err error
}

// row prints cells in columns.
func (t *table) row(cells ...string) {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.w, strings.Join(cells, "\t"))
	}
}

// title ends a table and begins the next.
func (t *table) title(text string) {
	t.row()
	t.flushOne()
	t.row(text)
	t.flushOne()
}

func (t *table) flushOne() {
	if err := t.w.Flush(); t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	t.flushOne()
	return t.err
}

func (p *Plan) writeHead(t *table) {
	cells := "in one deployment"
	if p.Cells > 1 {
		cells = fmt.Sprintf("in %s cells of %s users", thousands(float64(p.Cells)), short(p.Users/float64(p.Cells)))
	}
	t.row(fmt.Sprintf("%s users connected at once, %s. Calculated, not measured.", short(p.Users), cells))
	if !p.Fits {
		t.row("IT DOES NOT FIT: see what gives first, and take more cells.")
	}
}

func (p *Plan) writeTraffic(t *table) {
	t.title("PER SECOND")
	f := p.Traffic
	t.row("requests at API servers", short(f.Requests))
	t.row("deliveries", short(f.Deliveries))
	t.row("connects", short(f.Connects))
	t.row("envelopes", short(f.Envelopes), digits(f.PerRequest)+" for each request posted")
	t.row("confirmations", short(f.Acks))
}

func (p *Plan) writeComponents(t *table) {
	t.title("COMPONENTS")
	t.row("", "count", "bound by", "used")
	for _, c := range p.Components {
		var loads []string
		for _, l := range c.Loads {
			loads = append(loads, l.Of+" "+percent(l.Used))
		}
		t.row(c.Name, thousands(c.Count), c.Bound, strings.Join(loads, ", "))
	}
}

func (p *Plan) writeRedis(t *table) {
	t.title("REDIS, PER SECOND")
	r := p.Redis
	t.row("publishes at masters", short(r.Publishes))
	t.row("copies at replicas", short(r.Copies))
	t.row("users looked up", short(r.LookUps))
	t.row("users entered or taken out", short(r.Registrations))
	t.row("probes (INFO, canaries)", short(r.Probes))
	t.row("leases read", short(r.Leases))
	t.row("bytes through a pub/sub shard", bitRate(r.BytesPerShard), "its backlog covers "+digits(r.BacklogS)+" s")
	t.title("NETWORK")
	for _, h := range p.Network {
		t.row(h.From, bitRate(h.Bytes))
	}
	t.title("MEMORY")
	m := p.Memory
	t.row("connections, user space", size(m.Connections))
	t.row("connections, kernel", size(m.Kernel))
	t.row("worker processes themselves", size(m.Processes))
	t.row("index, all copies", size(m.Index))
	t.title("EVERYBODY COMES BACK AT ONCE")
	t.row("connects the fleet takes", short(p.Storm.PerSecond)+"/s", "bound by "+p.Storm.Bound)
	t.row("all are back after", digits(p.Storm.Seconds)+" s")
}

func (p *Plan) writeLimits(t *table) {
	t.title("WHAT GIVES FIRST IN ONE CELL, which carries " + most(p.Carries) + " users")
	t.row("", "used", "alone, up to", "then")
	for _, l := range p.Limits {
		t.row(l.Name, percent(l.Used), most(l.Users), l.Then)
	}
}

func most(users float64) string {
	if users == 0 {
		return "any number of"
	}
	return short(users)
}

func (p *Plan) writeGrowth(t *table) {
	if len(p.Growth) == 0 {
		return
	}
	t.title("ONE CELL AS IT GROWS")
	t.row("", "users", "envelopes per request", "workers", "shards", "confirmations per envelope", "nearest limit")
	for _, g := range p.Growth {
		t.row("x"+digits(g.Times), short(g.Users), g.text(digits(g.Envelopes)), g.text(thousands(g.Workers)), g.text(thousands(g.Shards)), g.text(digits(g.Acks)), g.verdict())
	}
}

// text is a figure of g as it is shown, which is not when it means nothing.
func (g *Growth) text(figure string) string {
	if g.RunsAway {
		return "no end"
	}
	return figure
}

func (g *Growth) verdict() string {
	switch {
	case g.RunsAway:
		return "BREAKS: every process asks every Redis server; more of either leave no time for the work"
	case g.Used > 1:
		return "BREAKS: " + g.Limit + ", " + percent(g.Used)
	default:
		return g.Limit + ", " + percent(g.Used)
	}
}

// writeBasis prints what the plan stands on.
func (p *Plan) writeBasis(t *table) {
	t.title("ASSUMED")
	for _, a := range p.Assumed {
		t.row("- " + a)
	}
	t.title("UNIT COSTS (" + Machine + ")")
	for _, c := range p.Costs {
		t.row(c.Name, plain(c.Value), c.About, c.Command)
	}
}

// assumed says in words what is neither measured nor computed.
func assumed(in *Input) []string {
	out := []string{
		fmt.Sprintf("each request names %s users at random, %s of them connected; messages of %s bytes, %d more of packet headers",
			thousands(float64(in.Targets)), thousands(float64(in.Online)), thousands(float64(in.Size)), packetBytes),
		fmt.Sprintf("machines of %d cores, %s, %sbit/s both ways; one core is worth one of those measured on", in.Cores, size(float64(in.Memory)), short(float64(in.Network))),
		fmt.Sprintf("%s of CPU and network are planned for, %s of CPU in a reconnect storm, %s of memory", percent(in.Headroom), percent(stormShare), percent(memoryShare)),
		"one Redis server per core, one worker per core, one API process per machine over all its cores",
		"a confirmation costs its sender what an envelope costs an API server, and its receiver what one costs a worker",
		fmt.Sprintf("a receiver confirms to each sender after %v s at the earliest: few messages from each of many senders are confirmed one by one", ackGather),
		"no TLS, no inbox (store), no receipts (wait), one connection per user; backends' and balancers' own needs are not counted",
	}
	if in.Zones > 1 {
		z := float64(in.Zones)
		out = append(out, fmt.Sprintf("%d zones, with a Redis server of every shard in each; when one is lost, what was planned to use %s uses %s",
			in.Zones, percent(in.Headroom), percent(in.Headroom*z/(z-1))))
	}
	if in.Cells != 1 {
		out = append(out, fmt.Sprintf("with several cells, %s of a request's users are in one; which cell a user is in comes from a directory that is not counted", percent(in.Local)))
	}
	return out
}
