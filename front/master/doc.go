// Package master runs several worker processes on one port, and keeps them
// running: it restarts the dead, kills those that hang, replaces them one by
// one, and stops them.
//
// The master opens one listening socket per slot and address, all on the same
// port (SO_REUSEPORT), and starts one worker per slot by running its own
// executable again. A worker serves the sockets of its slot; the master never
// accepts from them, it only keeps them open. So a connection that waits in a
// slot's queue while its worker is killed or replaced finds the next worker.
//
// The master pings every worker that serves, several times a second, and the
// worker answers once its loop has turned, with what it may assume that others
// think of it. A slot whose worker does not answer, or is in doubt, is closed:
// its sockets leave the port's group, and what waits in their queues is handed
// to the workers of other slots. The master looks at every beat whether they
// listen as they should, because a worker that starts or wakes up has its
// sockets listen without asking.
//
// A worker gets: descriptor 3, a Unix socket to the master (control);
// descriptors from 4 on, its slot's listeners; and three environment
// variables. Inherit is the worker's side of all that.
package master
