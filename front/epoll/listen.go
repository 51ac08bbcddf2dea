package epoll

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Options are set on a listening socket; every connection it accepts inherits
// them, so that a connect costs no extra system calls. TCP_NODELAY and
// SO_REUSEPORT are always set.
type Options struct {
	// Backlog is how many connections may wait to be accepted. 0 or less: 4096.
	// The kernel caps it at net.core.somaxconn.
	Backlog int
	// SendBuffer is SO_SNDBUF in bytes; the kernel doubles it for its own
	// bookkeeping. 0: the kernel's default, which grows to megabytes for a peer
	// that does not read.
	SendBuffer int
	// RecvBuffer is SO_RCVBUF in bytes; 0: the kernel's default.
	RecvBuffer int
	// KeepAlive is the silence after which TCP probes the peer, and the time
	// between probes; three unanswered ones end the connection. In whole
	// seconds, rounded up. 0: no probes.
	KeepAlive time.Duration
	// UserTimeout is how long sent bytes may stay unacknowledged before the
	// connection ends (TCP_USER_TIMEOUT), in milliseconds. 0: the kernel's
	// default, some 15 minutes. It says nothing about a peer that
	// acknowledges and does not read.
	UserTimeout time.Duration
	// Join says that sockets which listen at the address already are the
	// caller's own, and that this one shares its connections with them.
	Join bool

	exclusive bool // no SO_REUSEPORT
}

const (
	defaultBacklog  = 4096
	keepAliveProbes = 3
)

// Listen opens a listening socket on addr ("127.0.0.1:8081", "[::1]:8081",
// ":8081" for all addresses of both families, "host:0" for a free port). It
// blocks only to resolve a host name. Sockets of several processes that listen
// on the same port share its connections; unless o.Join says that this is
// meant, an address where somebody listens is an *InUseError.
func Listen(addr string, o Options) (fd int, err error) {
	if addr == "" { // which the resolver takes for ":0"
		return -1, errors.New("listen: no address")
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return -1, fmt.Errorf("listen on %q: %w", addr, err)
	}
	fd, err = listenTCP(tcp, o)
	if tcp.IP == nil && errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without IPv6
		tcp.IP = net.IPv4zero
		fd, err = listenTCP(tcp, o)
	}
	if err != nil {
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

// listenTCP binds to a free port in two steps: a socket that the kernel chose
// the port for would lose it in Unlisten, one that names its port keeps it.
func listenTCP(addr *net.TCPAddr, o Options) (int, error) {
	if addr.Port != 0 && !o.Join {
		if err := vacant(addr); err != nil {
			return -1, err
		}
	}
	fd, err := bindTCP(addr, o)
	if err != nil {
		return -1, err
	}
	if addr.Port == 0 {
		defer func(chosen int) { _ = unix.Close(chosen) }(fd)
		local, err := LocalAddr(fd)
		if err != nil {
			return -1, err
		}
		if fd, err = bindTCP(&net.TCPAddr{IP: addr.IP, Zone: addr.Zone, Port: int(local.Port())}, o); err != nil {
			return -1, err
		}
	}
	if err := Relisten(fd, o.Backlog); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindTCP(addr *net.TCPAddr, o Options) (int, error) {
	family, sa, err := sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if family == unix.AF_INET6 && addr.IP == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err == nil {
		err = o.apply(fd)
	}
	if err == nil {
		if err = unix.Bind(fd, sa); err != nil {
			err = fmt.Errorf("bind: %w", err)
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(addr *net.TCPAddr) (family int, sa unix.Sockaddr, err error) {
	if ip := addr.IP.To4(); ip != nil {
		return unix.AF_INET, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}, nil
	}
	sa6 := &unix.SockaddrInet6{Port: addr.Port}
	copy(sa6.Addr[:], addr.IP.To16())
	if addr.Zone != "" {
		ifi, err := net.InterfaceByName(addr.Zone)
		if err != nil {
			return 0, nil, fmt.Errorf("zone %q: %w", addr.Zone, err)
		}
		sa6.ZoneId = uint32(ifi.Index)
	}
	return unix.AF_INET6, sa6, nil
}

// apply sets the options on a socket that is not yet listening: the buffer
// sizes decide the window that the handshake offers.
func (o Options) apply(fd int) error {
	type option struct {
		name              string
		level, opt, value int
		set               bool
	}
	seconds := int((o.KeepAlive + time.Second - 1) / time.Second)
	alive := seconds > 0
	for _, s := range []option{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, true},
		{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, !o.exclusive},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1, true},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, alive},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds, alive},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds, alive},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes, alive},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout.Milliseconds()), o.UserTimeout > 0},
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer, o.SendBuffer > 0},
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, o.RecvBuffer, o.RecvBuffer > 0},
	} {
		if !s.set {
			continue
		}
		if err := unix.SetsockoptInt(fd, s.level, s.opt, s.value); err != nil {
			return fmt.Errorf("set %s to %d: %w", s.name, s.value, err)
		}
	}
	return nil
}

// Unlisten takes the socket out of the port's group: from now on the kernel
// gives arrivals to the other sockets that listen there, or refuses them when
// there is none. Connections that still wait would be reset, so it accepts the
// queue empty first and hands each one to take, which owns it.
//
// The caller removes fd from its poller beforehand: a socket that does not
// listen is ready for ever. It keeps its port; Relisten or Close follows. On an
// error, such as EMFILE from the queue, it still listens.
func Unlisten(fd int, take func(conn int, from netip.AddrPort)) error {
	for {
		conn, from, err := Accept(fd)
		if errors.Is(err, ErrWouldBlock) {
			break
		}
		if err != nil {
			return fmt.Errorf("empty the accept queue: %w", err)
		}
		take(conn, from)
	}
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		return fmt.Errorf("stop listening: %w", err)
	}
	return nil
}

// Relisten makes a socket that Unlisten took out listen again, on the port and
// with the options it has. backlog as in Options.
func Relisten(fd, backlog int) error {
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// LocalAddr is the address that fd is bound to.
func LocalAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	return addrPort(sa)
}

// PeerAddr is the address that fd is connected to, as Accept returns it. It is
// an error when the peer has gone.
func PeerAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getpeername: %w", err)
	}
	at, err := addrPort(sa)
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), err
}

func addrPort(sa unix.Sockaddr) (netip.AddrPort, error) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("address family of %T is not IP", sa)
	}
}
