// Package client speaks homing.v1, the WebSocket protocol by which a player
// hears notifications, and nothing else of Homing.
//
// Conn is one connection: Dial returns it once the server has said hello, and
// Receive yields what the server says. Client keeps a user connected: it dials
// again after every loss, waits as long as the server asked it to, or a
// jittered and growing while, and drops notifications it has already given.
package client
