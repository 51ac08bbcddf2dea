// Package front holds players' connections: the worker, an event loop that
// owns every socket it accepted, and the protocol that the sockets speak.
//
// A worker is one goroutine (Worker.Run) around an epoll poller. It accepts,
// reads, writes and times out all of its connections; an idle connection
// costs one small struct and neither a goroutine nor a buffer. Whatever may
// block happens elsewhere and is posted back to the loop: checking a token
// (a small pool), registering a user in the index (Presence), TLS (two
// goroutines per connection). Package master runs several workers on one port.
package front
