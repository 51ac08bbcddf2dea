// Package front holds players' connections: the worker, its sessions, and the
// protocols that they speak, one adapter file each.
//
// A worker is one goroutine (Worker.Run) around an event loop (package loop),
// which moves bytes and owns the sockets. Several owners stand on it, each with
// fields of its own; parts.go puts them together. An idle connection costs one
// small struct and neither a goroutine nor a buffer. Whatever may block happens
// elsewhere and is posted back to the loop: checking a token that needs a key
// set (a small pool), registering a user in the index (Presence), reading the
// inbox, TLS handshakes. Package master runs several workers on one port.
package front
