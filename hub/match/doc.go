// Package match puts players who want to play together into matches. It is pure:
// it is given who waits and what time it is, and says who plays with whom. Who
// stores tickets, and claims all of a match or none, stands above it.
//
// A ticket is one player or a party: all of it plays in one team, or nobody. It
// waits in one queue. What it accepts widens with the time that it has waited, by
// the queue's steps; a match is one only if each of its tickets accepts all
// others. The oldest ticket is served first, and rooms that lack players before
// new matches.
package match
