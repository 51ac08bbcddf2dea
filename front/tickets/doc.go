// Package tickets makes the keys that TLS session tickets are sealed with, so
// that a session that began at one worker can be resumed at another.
//
// There is a key for each half day. New tickets are sealed with the present
// one; those of the two before open older tickets, so that a session can be
// resumed for 24 to 36 hours.
package tickets
