// Package http1 is the server's side of HTTP/1.1 (RFC 9110, RFC 9112) as
// functions over byte slices: it does no I/O. It reads requests strictly, builds
// replies, and judges which web pages may connect.
package http1
