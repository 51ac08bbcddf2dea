package api

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// reusePort lets several processes listen on one address; the kernel spreads
// the connections over them.
func reusePort(_, address string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", address, err)
	}
	return nil
}
