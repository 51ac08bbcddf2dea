// Package leader has one of several controllers of a fleet act, and the others watch.
//
// The leader has a lease in data Redis and a term, a number that grows with each new
// leader. A lease is taken and renewed on every replica that may be promoted, so that a
// failover does not make two. Whoever cannot renew it stops acting by a clock of its own
// before the lease lapses. That clock may be wrong, or the process may stand still: so
// all that a leader writes names its term, and scripts refuse it when Redis has another
// (keys.FleetTerm).
package leader
