// Package tlsconn is the server's side of TLS for an event loop over raw
// sockets. It takes ciphertext as it comes and gives plaintext, and the other
// way round, and knows nothing of what the bytes mean.
//
// An open connection has no goroutine, and no buffers beyond those inside
// crypto/tls: all that the connections of a loop need in turn is in its
// Buffers. Only a handshake runs on a goroutine of its own, from the complete
// ClientHello on; it computes while it holds one of a few places, and holds
// none while it waits for its client.
//
// crypto/tls reads and writes a net.Conn. Here that is a transport: while the
// handshake runs its Read blocks; after that it says at once, by an error that
// crypto/tls passes on without taking note of it, that no ciphertext is there.
// Its Write never blocks.
package tlsconn
