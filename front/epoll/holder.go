package epoll

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
		return Holder(addr.Port)
	}
	return err
}

// Holder finds the process that listens on a TCP port of this network namespace,
// of several the one with the lowest pid, which is most likely their parent. Its
// PID is 0 when none is found.
func Holder(port int) *InUseError {
	sockets := listeners(port)
	found := &InUseError{}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // of other users' processes there are none
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !sockets[target] {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
		if found.PID == 0 || pid < found.PID {
			found.PID = pid
		}
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", found.PID)) // one that has ended has no name
	found.Name = strings.TrimSpace(string(name))
	return found
}

// listeners are the sockets of this network namespace that listen on the port,
// by the names that they have in /proc/PID/fd. What cannot be read is left out.
func listeners(port int) map[string]bool {
	const (
		local, state, inode = 1, 3, 9 // columns
		listening           = "0A"
	)
	found := make(map[string]bool)
	suffix := fmt.Sprintf(":%04X", port)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(file) //nolint:gosec // one of the two above
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > inode && f[state] == listening && strings.HasSuffix(f[local], suffix) {
				found["socket:["+f[inode]+"]"] = true
			}
		}
	}
	return found
}
