// Package arrival keeps account of the connections of a worker by the address
// they come from, so that one address cannot take the room of all others: how
// fast they come, how many have shown no valid token yet, and how many are in
// service. Everything is done in constant time, whatever there is of addresses
// and connections. It does no I/O and closes nothing: its owner does.
package arrival
