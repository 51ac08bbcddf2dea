package bench

import "github.com/homing/homing/bench/rig"

// A load below these says little: processes use as much CPU at rest as they do
// for a thousand messages a second, a p99 of 20,000 deliveries rests on the 200
// slowest, and what a process holds without connections weighs as much as a
// thousand of them.
const (
	leastPerSecond  = 5_000
	leastDeliveries = 20_000
	leastConns      = 1_000
)

// noteSmallLoad warns, once in a run, of figures per delivery, percentiles and
// ratios of a load that is too small for them.
func (r *run) noteSmallLoad(l rig.Load) {
	if r.small || l.Deliveries >= leastDeliveries && l.PerSecond() >= leastPerSecond {
		return
	}
	r.small = true
	r.note("A small load, %d deliveries at %.0f/s: figures per delivery hold what processes use at rest, and ratios and p99 are mostly chance. Measure at least %d at %d/s (--rate, --online, --duration).",
		l.Deliveries, l.PerSecond(), leastDeliveries, leastPerSecond)
}

// noteFewConns warns of figures per connection.
func (r *run) noteFewConns(o Options) {
	if o.Conns < leastConns {
		r.note("Few connections, %d: figures per connection hold what processes and the kernel need without any, and may be below 0. Hold at least %d (--conns).", o.Conns, leastConns)
	}
}
