// Package rights knows what a Redis user must be allowed for the hub to work,
// by role, and finds out whether the users that it was given are. A command
// that is refused may be needed by one feature alone and much later, as TIME by
// what is stored: a server that says "ready" must be able to do all that it
// offers.
package rights
