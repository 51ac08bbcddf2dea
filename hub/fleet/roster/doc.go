// Package roster says, in data Redis, which nodes a fleet has and how they are, assigns
// players to them, and keeps the orders that nodes are given.
//
// Each worker of a node reports once a second what it holds (Reporter). What is known of
// a node is the sum of its workers' last reports: nothing is ever counted up or down. A
// worker that has not reported for three seconds makes its node red, until it reports
// again or is known to be dead. So a Redis that has lost everything knows all nodes again
// a second later; orders that were lost come back with the reports of those who obey
// them.
//
// Players who are assigned to a node count there at once, as a reservation. It ends when
// the node reports that they have come, by the ticket that they show, or after 15 s.
//
// All of it is on the lead shard, changed by scripts that each see one state of it and
// go by that Redis's clock.
package roster
