package socket

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Connect starts a non-blocking TCP connect and returns its descriptor. from may
// be the zero Addr: the kernel chooses. A buffer above 0 is the bytes of the
// socket's receive buffer.
func Connect(to netip.AddrPort, from netip.Addr, buffer int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if err := prepare(fd, from, buffer); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect to %v: %w", to, err)
	}
	return fd, nil
}

func prepare(fd int, from netip.Addr, buffer int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("prepare a socket: %w", err)
	}
	if buffer > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return fmt.Errorf("bound a socket's buffer: %w", err)
		}
	}
	if !from.IsValid() {
		return nil
	}
	// The port is chosen at connect, when the whole four-tuple is known.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("prepare a socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return fmt.Errorf("bind to %v: %w", from, err)
	}
	return nil
}

// Connected reports how a connect ended, once the socket is writable.
func Connected(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if code != 0 {
		return fmt.Errorf("connect: %w", unix.Errno(code))
	}
	return nil
}

// Send writes all of p; our messages are small, so a socket that cannot take
// one is treated as broken. The error is an unix.EAGAIN when nothing was taken.
func Send(fd int, p []byte) error {
	n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if n != len(p) {
		return fmt.Errorf("send: %d of %d bytes taken", n, len(p))
	}
	return nil
}

// Reset makes that closing fd cuts the connection off without a goodbye.
func Reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // a close in good order cuts it off, too
}

// portsPerSource is how many connections share one loopback address. The
// kernel looks for a free port among the even ones first, 14,000 by default:
// once those are taken every connect searches them all, which costs it half a
// millisecond. Far fewer also leave gaps for clients that come back.
const portsPerSource = 4_000

// Source is the address that connection i comes from: one of own in turn. When
// there are none, it is 127.0.0.2 and on to a loopback server, because one
// address runs out of ports; to others the kernel chooses.
func Source(own []netip.Addr, to netip.AddrPort, i int) netip.Addr {
	switch {
	case len(own) > 0:
		return own[i%len(own)]
	case !to.Addr().IsLoopback():
		return netip.Addr{}
	}
	k := i/portsPerSource + 2
	return netip.AddrFrom4([4]byte{127, 0, byte(k >> 8), byte(k)})
}
