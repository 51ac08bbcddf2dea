// Package master runs several worker processes on one port, and keeps them
// running: it restarts the dead, replaces them one by one, and stops them.
//
// The master opens one listening socket per slot and address, all on the same
// port (SO_REUSEPORT), and starts one worker per slot by running its own
// executable again. A worker serves the sockets of its slot; the master never
// accepts from them, it only keeps them open. So a connection that waits in a
// slot's queue while its worker is killed or replaced finds the next worker.
//
// A worker gets: descriptor 3, a Unix socket to the master (control);
// descriptors from 4 on, its slot's listeners; and three environment
// variables. Inherit is the worker's side of all that.
package master
