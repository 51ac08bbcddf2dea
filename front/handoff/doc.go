// Package handoff passes connections from one process to another one of the
// same machine.
//
// A [Receiver] listens on a Unix socket in Linux's abstract namespace, named
// after its user and its process: nothing stays behind on disk, and no folder
// need be agreed on. Who is in another network namespace, as in another
// container, does not find it. Such names have no permissions, so each side
// asks the kernel whose the other one is (SO_PEERCRED), and goes no further
// with another user's.
//
// One passing goes like this:
//
//	passer            receiver
//	connects
//	                  says its version, if it takes connections now
//	sends the descriptor, whose it is, and what was read of it
//	                  gives it to its loop, and says so
//	closes its copy
//
// A receiver that is full, stands still or speaks another version does not say
// the first word, and the client stays where it is. One that dies or stands
// still between its two words costs the client its connection: the passer ends
// it for both, so that nobody serves it later who had been given up.
package handoff
