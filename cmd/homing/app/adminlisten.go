package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
)

// adminPorts is how many ports from that of --admin-listen on API servers try.
const adminPorts = 16

// listenAdmin binds the admin address. With share a port that is taken makes it
// try the next ones: several API servers of a machine have one configuration,
// and share the API's own port, but metrics are of one process. Port 0 is any
// free one.
func listenAdmin(ctx context.Context, address string, share bool, log *slog.Logger) (net.Listener, error) {
	lc := net.ListenConfig{}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		return ln, nil
	}
	host, text, splitErr := net.SplitHostPort(address)
	port, portErr := strconv.Atoi(text)
	if !share || !errors.Is(err, syscall.EADDRINUSE) || splitErr != nil || portErr != nil {
		return nil, fmt.Errorf("--admin-listen: %w", withHolder(err, address))
	}
	for next := port + 1; next < min(port+adminPorts, 1<<16); next++ {
		ln, nextErr := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(next)))
		if nextErr == nil {
			log.Warn("--admin-listen is taken, as by another API server of this machine: using the next free port", "taken", address, "listening", ln.Addr().String())
			return ln, nil
		}
	}
	return nil, fmt.Errorf("--admin-listen: %w, and so are the next %d ports", err, adminPorts-1)
}
