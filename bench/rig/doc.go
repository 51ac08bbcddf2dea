// Package rig puts a system on the bench: it holds clients on it, calls it on
// an open-loop schedule, and reads what the system, its clients and the
// machine spend meanwhile.
package rig
