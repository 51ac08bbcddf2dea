// Package ws is the server's side of WebSocket (RFC 6455) as functions over
// byte slices: it does no I/O and keeps no buffer for an idle connection.
//
// The opening handshake is CheckUpgrade and Accept on a request that http1 has
// read. Frames from the client go through
// a Decoder; frames to it are built by AppendFrame and CloseFrame. Extensions
// are not negotiated.
package ws
