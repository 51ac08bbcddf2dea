package roster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

const (
	// Period is how often a worker reports.
	Period        = time.Second
	reportTimeout = 2 * time.Second
	// lastTimeout bounds the last word of a worker that ends.
	lastTimeout = time.Second

	// countedWithin is after how long a worker that has let a client in counts it.
	countedWithin = 150 * time.Millisecond

	// maxArrived is how many arrivals one report carries, and maxArrivals how many wait.
	maxArrived  = 2048
	maxArrivals = 1 << 15
)

// Worker is what a Reporter needs of the worker that it reports for. None of them may
// block.
type Worker interface {
	// Load is what the worker holds, and how far it has come with its drain.
	Load() (fleet.Load, fleet.Progress)
	// Order tells it the orders of its node, after each report.
	Order(o fleet.Orders)
	// Leaving is closed when it begins to stop.
	Leaving() <-chan struct{}
}

// Reporter reports for one worker of a node.
type Reporter struct {
	roster   *Roster
	identity Identity
	process  hub.ProcessID
	slot     int
	log      *slog.Logger
	met      reportMetrics

	// ahead is how far the clock of Redis is before this process's, in nanoseconds; by
	// the monotonic clock, so that no clock that is set makes a ticket expire.
	ahead atomic.Int64
	born  time.Time

	mu      sync.Mutex
	arrived []Arrival

	// Owned by Run.
	batch     []Arrival // those of the report that was not confirmed
	number    uint64
	standing  standingOrders
	failing   bool
	conflicts bool
}

// NewReporter returns what reports for the worker process at a slot of the node i.
func NewReporter(r *Roster, i Identity, process hub.ProcessID, slot int, log *slog.Logger, reg prometheus.Registerer) *Reporter {
	return &Reporter{roster: r, identity: i, process: process, slot: slot, log: log, met: newReportMetrics(reg), born: time.Now()}
}

// Arrived takes the ticket that a client has shown which was let in. It does not block
// and may be called from any goroutine.
func (p *Reporter) Arrived(text string) {
	key := p.roster.key.Load()
	if key == nil { // nothing was reported yet, so nobody was assigned
		p.met.tickets.WithLabelValues(ticketForged).Inc()
		return
	}
	t, ok := key.parse(text)
	switch {
	case !ok:
		p.met.tickets.WithLabelValues(ticketForged).Inc()
	case t.node != p.identity.Node:
		p.met.tickets.WithLabelValues(ticketOther).Inc()
	case !p.now().Before(t.lapses):
		p.met.tickets.WithLabelValues(ticketExpired).Inc()
	default:
		p.keep(Arrival{t.assignment, t.players})
	}
}

func (p *Reporter) keep(a Arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.arrived) >= maxArrivals {
		p.met.tickets.WithLabelValues(ticketExcess).Inc()
		return
	}
	p.arrived = append(p.arrived, a)
}

// reportAll reports, and again while more have come than a report carries: until that
// has told of them they count twice.
func (p *Reporter) reportAll(ctx context.Context, w Worker) {
	p.report(ctx, w, false)
	for ctx.Err() == nil && !p.failing && !p.conflicts && p.crowded() {
		p.report(ctx, w, false)
	}
}

// crowded reports whether more have come than the next report carries.
func (p *Reporter) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.arrived) >= maxArrived
}

// now is the time of Redis, as far as is known.
func (p *Reporter) now() time.Time {
	return p.born.Add(time.Since(p.born)).Add(time.Duration(p.ahead.Load()))
}

// Run reports once a second until ctx ends, and then once more that the worker is gone.
// It returns nil. Stop it only when the worker has no connections any more.
func (p *Reporter) Run(ctx context.Context, w Worker) error {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	leaving := w.Leaving()
	for {
		p.reportAll(ctx, w)
		select {
		case <-leaving: // nobody is to be assigned here any more
			leaving = nil
		case <-ctx.Done():
			p.last(context.WithoutCancel(ctx), w)
			return nil
		case <-tick.C:
		}
	}
}

// last reports that the worker is gone.
func (p *Reporter) last(ctx context.Context, w Worker) {
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	p.report(ctx, w, true)
}

// report makes one report, and tells the worker its orders.
func (p *Reporter) report(ctx context.Context, w Worker, last bool) {
	limited, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	p.fill()
	if len(p.batch) > 0 && !last { // who has come is to be among the connections
		select {
		case <-ctx.Done():
		case <-time.After(countedWithin):
		}
	}
	load, progress := w.Load()
	got, err := p.roster.report(limited, &Report{
		Identity: p.identity, Process: p.process, Slot: p.slot, Stopping: last || closed(w.Leaving()), Last: last,
		Load: load, Progress: progress, Arrived: p.batch, Batch: p.number,
	}, p.standing)
	if last || ctx.Err() != nil {
		return
	}
	p.tell(err)
	if err != nil {
		return
	}
	p.standing = got.standing
	p.ahead.Store(int64(got.now.Sub(p.born.Add(time.Since(p.born)))))
	if d := got.Drain; d != nil { // by this machine's clock, whatever that shows
		d.Deadline = time.Now().Add(d.Deadline.Sub(p.now()))
	}
	p.met.tickets.WithLabelValues(ticketArrived).Add(float64(len(p.batch) - got.missing))
	p.met.tickets.WithLabelValues(ticketMissing).Add(float64(got.missing))
	p.met.lapsed.Add(float64(got.lapsed))
	p.batch = nil
	w.Order(got.Orders)
}

// fill makes the next batch of arrivals, unless the last one is to be reported again.
func (p *Reporter) fill() {
	if p.batch != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.arrived), maxArrived)
	p.batch, p.arrived = p.arrived[:n:n], p.arrived[n:]
	p.number++
	if len(p.arrived) == 0 {
		p.arrived = nil
	}
}

// tell counts a report, and logs when it is the first that fails or the first that does
// not.
func (p *Reporter) tell(err error) {
	conflict, conflicts := errors.AsType[*ConflictError](err)
	switch {
	case conflicts:
		p.met.reports.WithLabelValues("conflict").Inc()
		p.met.conflicts.Inc()
	case err != nil:
		p.met.reports.WithLabelValues("failed").Inc()
	default:
		p.met.reports.WithLabelValues("ok").Inc()
	}
	switch {
	case conflicts && !p.conflicts:
		p.log.Error("node: another front has this node's name; nobody is assigned here", "node", p.identity.Node, "other", conflict.Endpoint)
	case err != nil && !conflicts && !p.failing:
		p.log.Warn("node: the roster was not told", "node", p.identity.Node, "err", err)
	case err == nil && (p.failing || p.conflicts):
		p.log.Info("node: the roster is told again", "node", p.identity.Node)
	}
	p.failing, p.conflicts = err != nil && !conflicts, conflicts
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
