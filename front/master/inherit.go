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
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/hub"
)

// WorkerSlot returns the slot that this process is the worker of, and whether
// it is one.
func WorkerSlot() (int, bool) {
	slot, err := strconv.Atoi(os.Getenv(envSlot))
	return slot, err == nil
}

// Child is what a worker process inherited from its master.
type Child struct {
	Slot    int
	Process hub.ProcessID // what the worker goes by in the hub
	Master  string        // its master's id, which is another one after each start; empty: it is of an earlier version
	Workers int           // that the master keeps; 0: likewise
	// Succeeds says that the worker before it still serves: there is time to see
	// that this one can take its place.
	Succeeds  bool
	Ended     []hub.ProcessID  // workers of this master that have ended lately: nobody need ask for them
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
	c := &Child{
		Slot: slot, Succeeds: os.Getenv(envSucceeds) != "", Process: hub.ProcessID(os.Getenv(envProcess)),
		Master: os.Getenv(envMasterID), admin: os.Getenv(envAdmin),
	}
	c.Workers, _ = strconv.Atoi(os.Getenv(envKept)) // a master of an earlier version does not say
	if err := c.Process.Check(); err != nil {
		return nil, fmt.Errorf("%s: %q: %w", envProcess, os.Getenv(envProcess), err)
	}
	for id := range strings.SplitSeq(os.Getenv(envEnded), ",") {
		if hub.ProcessID(id).Check() == nil {
			c.Ended = append(c.Ended, hub.ProcessID(id))
		}
	}
	for i, kind := range strings.Split(os.Getenv(envListeners), ",") {
		fd := firstListener + i
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("inherit listener %d: %w", fd, err)
		}
		c.Listeners = append(c.Listeners, front.Listener{FD: fd, TLS: kind == giveTLS, Shared: true})
	}
	unix.CloseOnExec(firstListener - 1)
	control, err := unixConn(firstListener - 1)
	if err != nil {
		return nil, err
	}
	c.control = control
	for _, name := range []string{envSlot, envListeners, envAdmin, envProcess, envEnded, envSucceeds, envMasterID, envKept} {
		_ = os.Unsetenv(name)
	}
	return c, nil
}

// waitsEvery is between two words about what a worker waits for.
const waitsEvery = time.Second

// Waits tells the master each second what this worker waits for, until ctx
// ends. It must not run beside Ready.
func (c *Child) Waits(ctx context.Context, what func() error) {
	tick := time.NewTicker(waitsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			word := sayWaits + what().Error()
			_ = c.say(word[:min(len(word), maxWord)]) // a master that is gone need not know
		}
	}
}

// Ready tells the master that this worker serves, and answers from the time
// that Run runs.
func (c *Child) Ready() error {
	if err := c.say(sayAnswers); err != nil {
		return err
	}
	return c.say(sayReady)
}

// Run runs w as Worker.Run does, does what the master says meanwhile, and tells
// the master when it begins to stop. It closes the control socket.
func (c *Child) Run(ctx context.Context, w *front.Worker) error {
	var others errgroup.Group
	ended := make(chan struct{})
	turned := make(chan struct{}, 1)
	others.Go(func() error { return c.obey(w, turned) })
	others.Go(func() error { c.answer(w, turned, ended); return nil })
	others.Go(func() error { c.announce(ctx, w, ended); return nil })
	err := w.Run(ctx)
	close(ended)
	_ = c.control.Close()
	return errors.Join(err, others.Wait())
}

// announce tells the master when w begins to stop, because ctx ends or by
// itself, until ended is closed.
func (c *Child) announce(ctx context.Context, w *front.Worker, ended <-chan struct{}) {
	select {
	case <-ctx.Done():
		w.Drain() // first: after the message the master closes the sockets
	case <-w.Leaving():
	case <-ended:
		return
	}
	_ = c.say(sayStopping) // a master that is gone need not know
}

// tlsWord is what the master is told of the TLS listener.
func tlsWord(closed bool) string {
	if closed {
		return sayNoTLS
	}
	return sayTLS
}

// answer answers a ping whenever w's loop has turned for it. The loop itself
// does not write to the control socket, which blocks while the master stands
// still.
func (c *Child) answer(w *front.Worker, turned, ended <-chan struct{}) {
	closed := false // the TLS listener, as the master was told
	for {
		select {
		case <-turned:
			if now := w.TLSClosed() != nil; now != closed && c.say(tlsWord(now)) == nil {
				closed = now
			}
			_ = c.say(sayPong + w.Standing().String())
		case <-ended:
			return
		}
	}
}

// obey does what the master says until the control socket ends. The loop of w
// notes in turned that it has come past a ping.
func (c *Child) obey(w *front.Worker, turned chan<- struct{}) error {
	for {
		what, fd, err := c.receive()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("control socket: %w", err)
		case fd >= 0:
			w.Adopt(fd, what == giveTLS)
		case what == sayPing:
			w.Post(func() {
				select {
				case turned <- struct{}{}:
				default: // the answer to the last ping has not been sent
				}
			})
		case strings.HasPrefix(what, sayTickets):
			c.useTickets(w, strings.TrimPrefix(what, sayTickets))
		case what == sayMute:
			w.Mute()
		case what == sayListen:
			w.Listen()
		}
	}
}

// useTickets has w seal and resume TLS sessions with the keys that the master
// gives. Those of a version that has others are passed over, as unknown words.
func (c *Child) useTickets(w *front.Worker, text string) {
	if keys, err := tickets.Parse(text); err == nil {
		w.SetTicketKeys(keys)
	}
}

func (c *Child) say(what string) error {
	if _, err := c.control.Write([]byte(what)); err != nil {
		return fmt.Errorf("tell the master %q: %w", what, err)
	}
	return nil
}

// receive waits for a word from the master, and the descriptor of a connection
// that came with it; -1: none.
func (c *Child) receive() (what string, fd int, err error) {
	var word [maxWord]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.control.ReadMsgUnix(word[:], oob)
	switch {
	case err != nil:
		return "", -1, err
	case n == 0:
		return "", -1, io.EOF
	case oobn == 0:
		return string(word[:n]), -1, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return "", -1, fmt.Errorf("%d control messages with %q: %w", len(msgs), word[:n], errors.Join(errNoDescriptor, err))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return "", -1, fmt.Errorf("%d descriptors with %q: %w", len(fds), word[:n], errors.Join(errNoDescriptor, err))
	}
	unix.CloseOnExec(fds[0])
	return string(word[:n]), fds[0], nil
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
