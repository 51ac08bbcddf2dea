// Package socketio is the wire of Socket.IO, protocol 5
// (https://socket.io/docs/v4/socket-io-protocol/), as functions over byte slices:
// it does no I/O. A packet is the data of an Engine.IO message, and as many binary
// messages after it as it says.
package socketio
