// Package host runs the rooms of one worker process. It claims each in the
// directory, gives it a goroutine, looks at the process's lease before anything is
// said in a room's name, saves checkpoints, hands running rooms over to other
// processes, and takes over those of processes that have died.
//
//	host.go      the rooms, and how connections come to them
//	running.go   one room: what waits for it, its ticks, its end
//	outlet.go    what it tells its members
//	serve.go     what other processes ask
//	move.go      a room goes to another process, or comes from there
//	keep.go      notes to the directory, offers, checkpoints, stuck rooms
//	adopt.go     the rooms of dead processes
package host
