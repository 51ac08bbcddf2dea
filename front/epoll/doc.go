// Package epoll waits for readiness of raw socket descriptors and holds the
// few system calls that an event loop over them needs. It knows nothing of
// protocols.
//
// Descriptors here are plain ints, non-blocking and close-on-exec, and belong
// to whoever got them from Accept or Listen until Close. No call blocks,
// except Poller.Wait. Errors are unix.Errno, wrapped where a caller gains from
// knowing what failed, bare on the hot path (Read, Write, Accept), where
// ErrWouldBlock says that the kernel has nothing to give or no room to take.
package epoll
