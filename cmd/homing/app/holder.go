package app

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"github.com/homing/homing/front/epoll"
)

// withHolder adds to an error of listening at address, host:port, which process
// has the port, when that is what is the matter. nil stays nil.
func withHolder(err error, address string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	_, text, splitErr := net.SplitHostPort(address)
	port, portErr := strconv.Atoi(text)
	if splitErr != nil || portErr != nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, epoll.Holder(port))
}
