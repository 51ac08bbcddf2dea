// Package bare is the limit that Homing is measured against: a program that
// writes the bytes of a notification to sockets with nothing around it, no
// look-up, no Redis, no queue, in as many processes as the front has workers.
// No program that serves the same clients can do better than this one by much.
package bare
