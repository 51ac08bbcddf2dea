package epoll

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Token names one registration: a descriptor and a generation that its owner
// changes each time the descriptor is reused. An event that was already on its
// way when the descriptor was closed carries the old generation.
type Token uint64

// wakeToken is the token of the poller's own eventfd; no descriptor has -1.
const wakeToken = Token(1<<64 - 1)

// MakeToken combines a descriptor (0 or more) with a generation.
func MakeToken(fd int, generation uint32) Token {
	return Token(generation)<<32 | Token(uint32(fd))
}

// FD is the descriptor that the token was made from.
func (t Token) FD() int { return int(int32(uint32(t))) }

// Generation is the generation that the token was made from.
func (t Token) Generation() uint32 { return uint32(t >> 32) }

// Interest is what a registration waits for. Errors and hang-ups are always
// reported, also with an Interest of 0. Readiness is level-triggered: an event
// repeats at every Wait until its cause is gone.
type Interest uint32

// The interests, to be combined with |.
const (
	ForRead  Interest = unix.EPOLLIN | unix.EPOLLRDHUP
	ForWrite Interest = unix.EPOLLOUT
)

// Event says what one registered descriptor is ready for.
type Event struct {
	Token Token
	// Readable: Read will not say ErrWouldBlock. It may say io.EOF or an error.
	Readable bool
	// Writable: Write will take bytes or report an error.
	Writable bool
	// Hangup: the connection is over in both directions or has failed. Readable
	// is set as well when the peer's last bytes may still wait to be read.
	Hangup bool
}

// A Poller waits for readiness of many descriptors. One goroutine owns it and
// calls everything but Wake, which any goroutine may call. The owner closes it.
//
// While nothing is ready, the owner is parked by the Go runtime and pins no
// thread. What the runtime's poller watches is a second epoll, the bell, which an
// epoll allows (epoll(7), questions 4 and 5). It has one registration, the first
// epoll, and listens to it only while Wait parks: what becomes ready while the
// owner is at work wakes no thread. The runtime registers the bell edge-triggered,
// so Wait parks only when epoll_wait has returned no event after the bell began to
// listen: whatever becomes ready later is a new edge.
type Poller struct {
	epfd     int
	bell     int
	file     *os.File // owns the bell, known to the runtime's poller
	conn     syscall.RawConn
	deadline time.Time // what file's read deadline is set to
	raw      [256]unix.EpollEvent
	want     int                // how many events the present Wait has room for
	n        int                // how many the last epoll_wait returned
	err      error              // and its error
	try      func(uintptr) bool // pollNow, kept so that Wait does not allocate

	wakes  [8]byte // what clearWake reads the eventfd's count into
	wakefd int
	woken  atomic.Bool // a wake is on its way and need not be sent again
	mu     sync.Mutex  // keeps Wake from writing to a closed wakefd
	closed bool        // guarded by mu
}

// oneWake is 1 in the eight bytes of this machine's order that an eventfd takes.
var oneWake = binary.NativeEndian.AppendUint64(nil, 1)

// New returns a Poller without registrations.
func New() (*Poller, error) {
	p := &Poller{epfd: -1, wakefd: -1}
	p.try = p.pollNow
	if err := p.open(); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// open makes the descriptors. os.NewFile takes only descriptors that are
// non-blocking for pollable.
func (p *Poller) open() (err error) {
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("create epoll descriptor: %w", err)
	}
	if p.bell, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("create the bell: %w", err)
	}
	if err = unix.SetNonblock(p.bell, true); err != nil {
		return errors.Join(fmt.Errorf("make the bell non-blocking: %w", err), unix.Close(p.bell))
	}
	p.file = os.NewFile(uintptr(p.bell), "epoll")
	if err = p.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("register the bell with the runtime: %w", err)
	}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		return fmt.Errorf("reach the bell: %w", err)
	}
	if err = control(p.bell, unix.EPOLL_CTL_ADD, p.epfd, 0, 0); err != nil {
		return err
	}
	if p.wakefd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("create eventfd: %w", err)
	}
	return control(p.epfd, unix.EPOLL_CTL_ADD, p.wakefd, wakeToken, ForRead)
}

// Add registers fd. The token comes back in its events.
func (p *Poller) Add(fd int, token Token, what Interest) error {
	return control(p.epfd, unix.EPOLL_CTL_ADD, fd, token, what)
}

// Modify changes the token and interest of a registered fd.
func (p *Poller) Modify(fd int, token Token, what Interest) error {
	return control(p.epfd, unix.EPOLL_CTL_MOD, fd, token, what)
}

// Remove ends the registration of fd. Closing fd does so too; Remove is for
// descriptors that live on. Events that the last Wait already returned stand.
func (p *Poller) Remove(fd int) error {
	return control(p.epfd, unix.EPOLL_CTL_DEL, fd, 0, 0)
}

func control(epfd, op, fd int, token Token, what Interest) error {
	ev := unix.EpollEvent{
		Events: uint32(what),
		Fd:     int32(uint32(token)),
		Pad:    int32(token >> 32),
	}
	if err := unix.EpollCtl(epfd, op, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl %s of descriptor %d: %w", controlNames[op], fd, err)
	}
	return nil
}

var controlNames = map[int]string{unix.EPOLL_CTL_ADD: "add", unix.EPOLL_CTL_MOD: "mod", unix.EPOLL_CTL_DEL: "del"}

// Wait fills events with what is ready and returns how many; at most 256, the
// rest comes with the next call. When nothing is ready it blocks until
// something is, Wake is called, or the deadline has passed (the zero Time:
// never); in the last two cases n may be 0 with a nil error. A deadline that
// stays the same from call to call costs nothing. It allocates nothing.
func (p *Poller) Wait(events []Event, deadline time.Time) (n int, err error) {
	if len(events) == 0 {
		return 0, errors.New("wait for readiness: no room for events")
	}
	p.want = min(len(events), len(p.raw))
	if !p.pollNow(0) {
		if err := p.park(deadline); err != nil {
			return 0, fmt.Errorf("wait for readiness: %w", err)
		}
	}
	if p.err != nil {
		return 0, fmt.Errorf("wait for readiness: %w", p.err)
	}
	return p.deliver(events), nil
}

// park blocks until pollNow has an answer, or the deadline has passed.
func (p *Poller) park(deadline time.Time) error {
	if !deadline.Equal(p.deadline) {
		p.deadline = deadline
		if err := p.file.SetReadDeadline(deadline); err != nil {
			return fmt.Errorf("set the deadline: %w", err)
		}
	}
	if err := control(p.bell, unix.EPOLL_CTL_MOD, p.epfd, 0, ForRead); err != nil {
		return err
	}
	err := p.conn.Read(p.try)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
		p.pollNow(0)
	}
	return errors.Join(err, control(p.bell, unix.EPOLL_CTL_MOD, p.epfd, 0, 0))
}

// pollNow collects what is ready without blocking, p.want events at most, into
// p.raw, p.n and p.err. It reports whether Wait has its answer.
//
// The system call is made without telling the Go scheduler: it never blocks,
// and the bookkeeping costs as much as the call.
func (p *Poller) pollNow(uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.raw[0])), uintptr(p.want), 0, 0, 0) //nolint:gosec // the kernel's calling convention
	if errno != 0 {
		p.n, p.err = 0, errno
		return true // never EINTR: it does not sleep
	}
	p.n, p.err = int(n), nil
	return p.n > 0
}

// deliver translates the last epoll_wait's events and takes out the wake.
func (p *Poller) deliver(events []Event) int {
	n := 0
	for i := range p.raw[:p.n] {
		raw := &p.raw[i]
		token := Token(uint32(raw.Pad))<<32 | Token(uint32(raw.Fd))
		if token == wakeToken {
			p.clearWake()
			continue
		}
		events[n] = Event{
			Token:    token,
			Readable: raw.Events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0,
			Writable: raw.Events&unix.EPOLLOUT != 0,
			Hangup:   raw.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0,
		}
		n++
	}
	return n
}

// clearWake empties the eventfd before it forgets the wake: a Wake between the
// two is dropped, and its caller's work is seen after this Wait returns. The
// other order would swallow a write whose flag stays set, and all later ones.
func (p *Poller) clearWake() {
	_, _ = unix.Read(p.wakefd, p.wakes[:])
	p.woken.Store(false)
}

// Wake makes the present or the next Wait return. Wakes that come before Wait
// has returned count as one: what a goroutine published before Wake, the owner
// sees after Wait. After Close it does nothing.
func (p *Poller) Wake() {
	if !p.woken.CompareAndSwap(false, true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		_, _ = unix.Write(p.wakefd, oneWake) // EAGAIN: it is awake already
	}
}

// Woken reports whether a wake is on its way. The owner may ask.
func (p *Poller) Woken() bool { return p.woken.Load() }

// Close releases the poller's own descriptors. Those registered stay open.
func (p *Poller) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	for _, fd := range []int{p.wakefd, p.epfd} {
		if fd >= 0 { // New has got so far
			errs = append(errs, unix.Close(fd))
		}
	}
	if p.file != nil {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}
