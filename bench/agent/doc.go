// Package agent lets one coordinator run its helpers on many machines: an
// agent serves on each of them, and for every helper that the coordinator
// wants it opens one connection, over which it talks to the helper as if that
// were a child of its own.
//
// Both ends prove to each other that they know the same secret, which never
// travels itself: each sends an HMAC of it with what is unique to the
// connection's TLS session, so that neither proof is of use to anyone in
// between. The certificate of that session is made for it and proves nothing.
package agent
