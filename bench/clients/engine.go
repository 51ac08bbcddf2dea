package clients

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/socket"
	"github.com/homing/homing/bench/times"
)

// state is how far a client has come.
type state uint8

const (
	idle       state = iota // no socket
	connecting              // TCP connect under way
	upgrading               // request sent
	greeting                // upgraded, not registered
	open                    // registered
)

// bee is one client.
type bee struct {
	fd      int32
	state   state
	partial []byte         // bytes of a frame or reply that is not whole yet
	poll    *poll          // while it is polled; nil: it is not
	got     []uint32       // notifications read, in the order they came
	to      netip.AddrPort // where a front has sent it; the zero one: to its own
}

// engine runs the clients of one process in one goroutine.
type engine struct {
	epoll  int
	own    []netip.Addr // what clients come from; empty: see source
	swarm  swarm
	speech speech
	bees   []bee
	tokens []string // by client
	events []unix.EpollEvent
	in     []byte // what a read takes
	out    []byte // scratch for what is sent
	count  Counts
	under  int                     // clients between connect and hello
	failed string                  // why a client failed last
	recent *hdrhistogram.Histogram // µs from the schedule's instant to the read, since the last sample
	lag    *hdrhistogram.Histogram // the same, from the last reset to the last sample
	storm  *storm                  // nil: a client that fails stays away
	joins  int                     // that were asked for and are not answered
}

func newEngine() (*engine, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open epoll: %w", err)
	}
	return &engine{
		epoll:  fd,
		events: make([]unix.EpollEvent, 512),
		in:     make([]byte, 64<<10),
		recent: times.New(),
		lag:    times.New(),
	}, nil
}

// close ends all clients.
func (e *engine) close() {
	e.clear()
	_ = unix.Close(e.epoll)
}

func (e *engine) clear() {
	for i := range e.bees {
		e.drop(i)
	}
}

// prepare replaces the clients by idle ones that hold tokens.
func (e *engine) prepare(s swarm) (err error) {
	e.clear()
	e.swarm, e.count, e.failed, e.storm = s, Counts{}, "", nil
	e.forget()
	if e.speech, err = s.Dialect.speech(); err != nil {
		return err
	}
	if e.swarm.Path == "" {
		e.swarm.Path = e.speech.path
	}
	e.bees = make([]bee, s.Count)
	e.tokens, err = tokens(&e.swarm)
	return err
}

// forget drops all latencies.
func (e *engine) forget() {
	e.recent.Reset()
	e.lag.Reset()
}

// drop closes a client's socket, if it has one, whatever its state.
func (e *engine) drop(i int) {
	b := &e.bees[i]
	switch b.state {
	case idle:
		return
	case open:
		e.count.Open--
	default:
		e.under--
	}
	if b.fd != noSocket {
		_ = unix.Close(int(b.fd))
	}
	b.state, b.partial, b.poll = idle, nil, nil
}

// fail drops a client for a reason and counts it, unless it comes back.
func (e *engine) fail(i int, reason error) {
	was := e.bees[i].state
	e.drop(i)
	e.bees[i].to = netip.AddrPort{} // once
	if told, ok := errors.AsType[*waitError](reason); ok {
		e.bees[i].to = told.to
	}
	if e.storm != nil && e.storm.comesBack(i, was, reason) {
		return
	}
	if was == open {
		e.count.Lost++
	} else {
		e.count.Failed++
	}
	e.failed = reason.Error()
}

// dial starts client i's connection.
func (e *engine) dial(i int) {
	b := &e.bees[i]
	b.state = connecting
	e.under++
	if e.speech.carrier.polled() {
		b.poll = new(poll)
	}
	b.fd = noSocket
	if err := e.connect(i, e.at(i)); err != nil {
		e.fail(i, err)
	}
}

// noSocket is the descriptor of a client whose socket could not be opened.
const noSocket = -1

// connect starts a connect of client i.
func (e *engine) connect(i int, to netip.AddrPort) error {
	fd, err := socket.Connect(to, socket.Source(e.own, to, e.swarm.First+i), e.swarm.Buffer)
	if err != nil {
		return err
	}
	e.bees[i].fd = int32(fd)
	return e.watch(unix.EPOLL_CTL_ADD, i, unix.EPOLLOUT)
}

func (e *engine) watch(op, i int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(i)} // the client's number; its descriptor is in bees
	if err := unix.EpollCtl(e.epoll, op, int(e.bees[i].fd), &ev); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// stall stops reading from all clients.
func (e *engine) stall() error {
	for i := range e.bees {
		if e.bees[i].state == idle {
			continue
		}
		if err := e.watch(unix.EPOLL_CTL_DEL, i, 0); err != nil {
			return err
		}
	}
	return nil
}

// turn waits up to timeout for sockets to become ready and serves those.
func (e *engine) turn(timeout time.Duration) error {
	n, err := unix.EpollWait(e.epoll, e.events, int(timeout.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for sockets: %w", err)
	}
	for _, ev := range e.events[:n] {
		e.serve(int(ev.Fd))
	}
	return nil
}

func (e *engine) serve(i int) {
	var err error
	switch e.bees[i].state {
	case idle: // dropped earlier in this turn
	case connecting:
		err = e.upgrade(i)
	default:
		err = e.read(i)
	}
	if err != nil {
		e.fail(i, err)
	}
}
