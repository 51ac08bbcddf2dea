// Package forwarded finds out whose connection it is that comes through a
// proxy: from a PROXY protocol header in front of the connection's own bytes,
// or from X-Forwarded-For in its request. Both are believed only from proxies
// that the operator trusts. It does no I/O.
package forwarded
