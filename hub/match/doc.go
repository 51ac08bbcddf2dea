// Package match puts players who want to play together into matches.
//
// A ticket is one player or a party: all of it plays in one team, or nobody. It
// waits in one queue. What it accepts widens with the time that it has waited, by
// the queue's steps; a match is one only if each of its tickets accepts all
// others. The oldest ticket is served first, and rooms that lack players before
// new matches.
//
//   - Function says who plays with whom. It is pure: it is given who waits and what
//     time it is. Nearest is the one that is built in.
//   - Tickets are those who wait, in data Redis, for whoever takes them from players
//     and backends. Scripts count each ticket in and, once and by a name, out.
//   - Matcher reads who waits, asks the Function, claims all tickets of a match or
//     none, opens a room through Rooms, records it, and tells the players. Every API
//     server has one; a lease in Redis says which of them works on a queue.
//
// All of a queue is on one data shard. lua/queue.lua says how it stands there.
package match
