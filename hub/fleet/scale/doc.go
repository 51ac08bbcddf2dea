// Package scale decides how many nodes a cluster needs, and says why. It is one pure
// function over snapshots of the fleet:
//
//	state, decisions = rules.Step(state, snapshot)
//
// Nothing in it reads a clock, draws a number or does I/O. So what runs live, what is
// replayed from a record, what is simulated and what runs in the shadow of other rules
// is the same code, and decides the same from the same.
package scale
