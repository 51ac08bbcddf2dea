package epoll

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnAddressWhereSomebodyListensIsRefused(t *testing.T) {
	_, addr := listen(t, "127.0.0.1:0", Options{})
	for _, at := range []string{addr.String(), fmt.Sprintf("0.0.0.0:%d", addr.Port()), fmt.Sprintf(":%d", addr.Port())} {
		_, err := Listen(at, Options{})
		used, ok := errors.AsType[*InUseError](err)
		if !ok || !errors.Is(err, unix.EADDRINUSE) || used.PID != os.Getpid() || used.Name == "" || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestWhatIsLeftOfAListenerTakesNoPort has connections of all kinds outlive
// their listener: open ones, ones in TIME_WAIT, and a socket that does not
// listen any more.
func TestWhatIsLeftOfAListenerTakesNoPort(t *testing.T) {
	fd, addr := listen(t, "127.0.0.1:0", Options{})
	open, err := dial(t.Context(), addr.String())
	must(t, err)
	defer open.Close()
	acceptOne(t, fd)
	closed, err := dial(t.Context(), addr.String())
	must(t, err)
	defer closed.Close()
	conn, _ := acceptOne(t, fd)
	must(t, CloseWrite(conn)) // who closes first is left in TIME_WAIT
	if _, err := closed.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("read %v", err)
	}
	must(t, closed.Close())
	must(t, Unlisten(fd, func(conn int, _ netip.AddrPort) { _ = Close(conn) }))
	if next, err := Listen(addr.String(), Options{}); err != nil {
		t.Error(err)
	} else {
		must(t, Close(next))
	}
}
