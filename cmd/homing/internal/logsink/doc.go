// Package logsink keeps a server going whatever becomes of the reader of its
// log. A Sink takes lines without blocking, in a bounded queue that a goroutine
// of its own writes out. What does not fit, or what the other end refuses, is
// dropped and counted, and a line says so when lines go through again.
//
// Nothing that exists does all of it: log/slog writes where it is told to, and
// blocks with it; zap's buffered writer blocks when its buffer is full;
// zerolog's diode drops, but it bounds the number of lines and not their bytes,
// forgets write errors, and waits for ever at the end for a reader that has
// stopped.
package logsink
