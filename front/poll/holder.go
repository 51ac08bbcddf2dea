package poll

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// An InUseError says that another process listens at an address already. It is
// unix.EADDRINUSE.
type InUseError struct {
	PID  int    // of the process; 0: not found, as for one of another user
	Name string // of the process
}

// Error names the process.
func (e *InUseError) Error() string {
	if e.PID == 0 {
		return "another process listens there already"
	}
	return fmt.Sprintf("process %d (%s) listens there already", e.PID, e.Name)
}

func (*InUseError) Unwrap() error { return unix.EADDRINUSE }

// vacant returns an *InUseError when a socket listens at addr, whoever would
// share the address with it or not: without SO_REUSEPORT only one that does not
// listen, such as what is left of closed connections or of a process that
// drains, leaves room for another. Processes that start in the same instant do
// not see each other.
func vacant(addr *net.TCPAddr) error {
	fd, err := bindTCP(addr, Options{exclusive: true})
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EADDRINUSE):
		return holder(addr.Port)
	}
	return err
}

// listening is the state of a listening socket in /proc/net/tcp.
const listening = 0x0a

// holder finds the process that listens on the port, of several the one with
// the lowest pid, which is most likely their parent.
func holder(port int) *InUseError {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return &InUseError{}
	}
	var sockets []string
	four, _ := fs.NetTCP() // what cannot be read cannot be found
	six, _ := fs.NetTCP6()
	for _, s := range append(four, six...) {
		if s.St == listening && s.LocalPort == uint64(port) {
			sockets = append(sockets, fmt.Sprintf("socket:[%d]", s.Inode))
		}
	}
	all, _ := fs.AllProcs()
	slices.SortFunc(all, func(a, b procfs.Proc) int { return a.PID - b.PID })
	for _, p := range all {
		targets, _ := p.FileDescriptorTargets()
		for _, t := range targets {
			if slices.Contains(sockets, t) {
				name, _ := p.Comm()
				return &InUseError{PID: p.PID, Name: name}
			}
		}
	}
	return &InUseError{}
}
