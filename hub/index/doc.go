// Package index knows which processes hold connections of which users.
//
// Each user has one small string in the data Redis, written by one Lua script
// per change, so that one MGET answers for hundreds of users. A process owns a
// lease, and an entry counts only while the lease of the process it names
// stands: a crash makes all of a process's entries stale at once without
// touching them, and a sweeper removes them later.
//
// What the data Redis says is a copy. The truth is in the processes that hold
// the connections: each keeps its own (Registrar), writes every change, and
// repairs the copy when the data Redis may have lost some of it.
//
// Leases and the set of processes that readers believe stand on the first data
// shard. A process renews its lease on the other shards as well; there it only
// keeps a sweeper away from entries of a process that has come back.
package index
