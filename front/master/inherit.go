package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
)

// WorkerSlot returns the slot that this process is the worker of, and whether
// it is one.
func WorkerSlot() (int, bool) {
	slot, err := strconv.Atoi(os.Getenv(envSlot))
	return slot, err == nil
}

// Child is what a worker process inherited from its master.
type Child struct {
	Slot      int
	Listeners []front.Listener // for NewWorker, which owns them

	control *net.UnixConn
	admin   string
}

// firstListener is the descriptor of the first listener; 3 is the control socket.
const firstListener = 4

// Inherit takes over what the master left to this process, once. Processes
// that this one starts inherit none of it.
func Inherit() (*Child, error) {
	slot, ok := WorkerSlot()
	if !ok {
		return nil, fmt.Errorf("%s: %q: want a slot's number, as a master sets it", envSlot, os.Getenv(envSlot))
	}
	c := &Child{Slot: slot, admin: os.Getenv(envAdmin)}
	for i, kind := range strings.Split(os.Getenv(envListeners), ",") {
		fd := firstListener + i
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("inherit listener %d: %w", fd, err)
		}
		c.Listeners = append(c.Listeners, front.Listener{FD: fd, TLS: kind == "tls", Shared: true})
	}
	unix.CloseOnExec(firstListener - 1)
	control, err := unixConn(firstListener - 1)
	if err != nil {
		return nil, err
	}
	c.control = control
	for _, name := range []string{envSlot, envListeners, envAdmin} {
		_ = os.Unsetenv(name)
	}
	return c, nil
}

// Ready tells the master that this worker serves.
func (c *Child) Ready() error { return c.say("ready") }

// Run runs w as Worker.Run does, passes the connections that the master hands
// over to it, and tells the master when it begins to stop. It closes the
// control socket.
func (c *Child) Run(ctx context.Context, w *front.Worker) error {
	stop := context.AfterFunc(ctx, func() {
		w.Drain()             // first: after the message the master closes the sockets
		_ = c.say("stopping") // a master that is gone need not know
	})
	adopted := make(chan error, 1)
	go func() { adopted <- c.adopt(w) }()
	err := w.Run(ctx)
	stop()
	_ = c.control.Close()
	return errors.Join(err, <-adopted)
}

// adopt passes connections on until the control socket ends.
func (c *Child) adopt(w *front.Worker) error {
	for {
		fd, overTLS, err := c.receive()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("control socket: %w", err)
		}
		w.Adopt(fd, overTLS)
	}
}

func (c *Child) say(what string) error {
	if _, err := c.control.Write([]byte(what)); err != nil {
		return fmt.Errorf("tell the master %q: %w", what, err)
	}
	return nil
}

// receive waits for one connection from the master.
func (c *Child) receive() (fd int, overTLS bool, err error) {
	var kind [16]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.control.ReadMsgUnix(kind[:], oob)
	if err != nil {
		return -1, false, err
	}
	if n == 0 {
		return -1, false, io.EOF
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return -1, false, fmt.Errorf("%d control messages with %q: %w", len(msgs), kind[:n], errors.Join(errNoDescriptor, err))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, false, fmt.Errorf("%d descriptors with %q: %w", len(fds), kind[:n], errors.Join(errNoDescriptor, err))
	}
	unix.CloseOnExec(fds[0])
	return fds[0], string(kind[:n]) == "tls", nil
}

var errNoDescriptor = errors.New("want exactly one descriptor")

// AdminListener opens the Unix socket on which the master asks this worker for
// its metrics and profiles.
func (c *Child) AdminListener(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", c.admin)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return ln, nil
}
