// Package hub is the vocabulary that every other package of Homing shares:
// users, services, processes, notifications, the envelope that carries a
// notification from an API server to one front worker, and the names of keys
// and channels. It does no I/O and imports nothing of ours.
package hub
