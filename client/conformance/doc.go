// Package conformance holds clients of homing.v1 to docs/protocol.md: one list
// of situations, a server that plays them over real sockets, and the judgement
// of what a client does in each.
//
// A client takes part by an agent, a program that does what it is told on its
// standard input and says on its standard output what happens: README.md has
// the words. So the list and the judgement are written once, whatever language
// a client is in.
package conformance
