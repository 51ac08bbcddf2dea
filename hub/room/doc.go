// Package room is a game room as one process runs it: seats, messages, ticks, and
// the logic of the game. It does no I/O, starts no goroutine and reads no clock:
// its owner calls it from one goroutine at a time and says what time it is, so
// that a room can be replayed.
//
// A room has seats. A seat is reserved for a user, who joins it with a ticket,
// plays, may lose the connection and come back within the class's grace, and
// leaves. Each connection to a seat has a generation: what an older one says, its
// end included, counts no more.
//
// What members and logic say to each other is gathered and sent at the next
// tick, as one frame for each member. It is of two kinds: an event is told once
// and in order; a state has a key, and of several values in one tick the last is
// told. Who comes back names the last event that it read, and gets those after it
// as far as the room remembers them, and every state that it may see.
package room
