// Package loop moves bytes: it accepts connections within budgets, speaks the
// PROXY protocol and TLS, hands up the bytes that clients send, and takes down
// the bytes that they are to be sent, which wait in a bounded queue while a
// client does not read. It knows no user and no protocol.
//
// A Loop is one goroutine, that of Run. It calls a Handler, which keeps a state
// S in each connection. An idle connection has no goroutine, no buffer and no
// timer of its own.
package loop
