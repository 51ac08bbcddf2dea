// Package engineio is the wire of Engine.IO, protocol 4 and, in names that end with 3, protocol 3
// (https://socket.io/docs/v4/engine-io-protocol/), as functions over byte slices:
// it does no I/O, and reads no clock.
//
// A packet is a text or a binary frame of a WebSocket, or a part of the payload of
// an HTTP request or response.
package engineio
