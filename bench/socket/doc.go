// Package socket has what clients of a load generator need of a connection: a
// non-blocking TCP socket, a WebSocket's handshake and its frames, without a
// goroutine or a buffer for each. Linux only.
package socket
