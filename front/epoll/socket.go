package epoll

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrWouldBlock says that the kernel has nothing to read, no connection to
// accept or no room to write at the moment: wait for readiness.
const ErrWouldBlock = unix.EAGAIN

// The calls below are made without telling the Go scheduler: none of them
// blocks, and a scheduler that takes the processor away during the few
// microseconds of a write costs more than the write.

// Read reads what has arrived into p. It returns io.EOF when the peer has
// ended its side, ErrWouldBlock when nothing has arrived.
func Read(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
			uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // as above
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// Write hands p to the kernel, which takes a front part of it: n bytes. It
// returns ErrWouldBlock only with n == 0. A peer that is gone is an error
// (EPIPE, ECONNRESET), never a signal. It allocates nothing.
func Write(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
			uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // as above
		switch errno {
		case unix.EINTR:
		case 0:
			return int(n), nil
		default:
			return 0, errno
		}
	}
}

// MaxWritev is how many buffers one Writev looks at.
const MaxWritev = 64

// Writev is Write of several buffers in one system call: the first MaxWritev
// of bufs, in order, as one stream. n counts bytes over all of them.
func Writev(fd int, bufs [][]byte) (int, error) {
	var vec [MaxWritev]unix.Iovec
	count := 0
	for _, b := range bufs {
		if count == len(vec) {
			break
		}
		if len(b) > 0 {
			vec[count].Base = &b[0]
			vec[count].SetLen(len(b))
			count++
		}
	}
	if count == 0 {
		return 0, nil
	}
	msg := unix.Msghdr{Iov: &vec[0]}
	msg.SetIovlen(count)
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd),
			uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT) //nolint:gosec // as above
		switch errno {
		case unix.EINTR:
		case 0:
			return int(n), nil
		default:
			return 0, errno
		}
	}
}

// Accept takes one waiting connection, or returns ErrWouldBlock. Connections
// that failed while they waited are passed over. EMFILE and ENFILE say that
// descriptors have run out; the connection keeps waiting. IPv4 peers of a
// socket for both families come as IPv4 addresses.
func Accept(fd int) (conn int, from netip.AddrPort, err error) {
	var sa unix.RawSockaddrAny
	for {
		size := uint32(unix.SizeofSockaddrAny)
		n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd),
			uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), //nolint:gosec // as above
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO:
		case 0:
			return int(n), peer(&sa), nil
		default:
			return -1, netip.AddrPort{}, errno
		}
	}
}

// peer reads an address as the kernel writes it: port in network order.
func peer(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa)) //nolint:gosec // as the family says
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkOrder(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa)) //nolint:gosec // as the family says
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), networkOrder(in.Port))
	default:
		return netip.AddrPort{}
	}
}

func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// CloseWrite ends our side of the connection after what Write has taken; the
// peer reads it and then the end. Reading goes on.
func CloseWrite(fd int) error {
	if err := unix.Shutdown(fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shut down writing: %w", err)
	}
	return nil
}

// Close releases fd, which ends its registration with a Poller as well. What
// Write has taken is still sent, unless unread input waits: then TCP resets
// the connection.
func Close(fd int) error {
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close descriptor %d: %w", fd, err)
	}
	return nil
}
