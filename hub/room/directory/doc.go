// Package directory says, in data Redis, which process owns which room.
//
// A room has one owner at a time. Each new owner has a higher epoch, which goes
// with all that is said in the room's name: what an owner before it still says is
// told apart by that. A process can become the owner of a room that is not there
// yet, of one that its owner hands over, and of one whose owner is dead.
//
// The rooms are the owners': a record that a failover has lost is written again by
// the process that runs the room (Note), and one whose process does not know the
// room is struck by it (Owned).
//
// All that is kept of a room is on the data shard of its id. What is there to find
// the rooms of a process, and all rooms, stands on the same shard.
package directory
