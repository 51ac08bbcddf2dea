package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub"
)

// slot is one place for a worker: its sockets, and whoever serves them. Its
// goroutine is run.
type slot struct {
	// Static.
	master    *Master
	index     int
	log       *slog.Logger
	listeners []socket
	events    chan event
	renewals  chan chan error

	serving atomic.Pointer[child]  // the worker that accepts; nil: none
	state   atomic.Pointer[state]  // what it is good for
	waits   atomic.Pointer[string] // what a worker that is not ready waits for; nil: none has said
	out     atomic.Bool            // the sockets do not listen, because another slot serves better

	// Owned by run.
	starting *child // a worker that is not ready yet
	alive    int    // processes that have not exited
	started  int    // processes started so far
	renewing chan error
	backoff  time.Duration
	retry    <-chan time.Time // when to start again

	// Owned by run, about the worker that serves.
	pulse     pulse
	standing  hub.Standing
	muted     bool // it was told to stop accepting
	condemned bool // it was killed because it hangs
}

// socket is a listening socket of a slot.
type socket struct {
	fd  int
	tls bool
}

// event is something that happened to a child.
type event struct {
	child *child
	what  string // what it said; exited; or late: not ready in time
}

const (
	// steady is how long a worker must have run for its death to count as the
	// first one, which is answered by a restart at once.
	steady       = 10 * time.Second
	firstBackoff = 100 * time.Millisecond
)

func newSlot(m *Master, index int, addrs []Address, o epoll.Options) (*slot, error) {
	s := &slot{
		master: m, index: index, log: m.log.With("slot", index),
		events: make(chan event), renewals: make(chan chan error),
	}
	s.state.Store(&state{vacant, time.Now()})
	for _, a := range addrs {
		fd, err := epoll.Listen(a.Addr, o)
		if err != nil {
			s.close()
			return nil, fmt.Errorf("%s: %w", front.ListenOption(a.TLS), err)
		}
		s.listeners = append(s.listeners, socket{fd, a.TLS})
	}
	return s, nil
}

// addresses returns what the slot listens on.
func (s *slot) addresses() []Address {
	var out []Address
	for _, l := range s.listeners {
		addr, err := epoll.LocalAddr(l.fd)
		if err != nil {
			continue // of a socket of our own: cannot happen
		}
		out = append(out, Address{addr.String(), l.tls})
	}
	return out
}

// files duplicates the slot's sockets for a child and names their kinds.
func (s *slot) files() (files []*os.File, kinds string) {
	var names []string
	for _, l := range s.listeners {
		name := givePlain
		if l.tls {
			name = giveTLS
		}
		names = append(names, name)
		fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			fd = -1 // os/exec reports it
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, strings.Join(names, ",")
}

func (s *slot) close() {
	for _, l := range s.listeners {
		_ = unix.Close(l.fd) // nobody is left to tell
	}
	s.listeners = nil
}

// run keeps a worker on the slot until ctx ends, then stops all it started.
func (s *slot) run(ctx context.Context) {
	beat := time.NewTicker(s.master.cfg.HeartbeatTimeout / beatsPerTimeout)
	defer beat.Stop()
	s.start()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case ev := <-s.events:
			s.on(ev)
		case s.renewing = <-s.renewals:
			s.start()
		case <-s.retry:
			s.retry = nil
			s.start()
		case <-beat.C:
			s.beat()
		}
	}
	s.stop()
}

// renew replaces the slot's worker and returns when the new one serves and the
// old one has been told to stop, or with the reason why the old one stays.
func (s *slot) renew(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case s.renewals <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renewed ends a renewal, if one is under way.
func (s *slot) renewed(err error) {
	if s.renewing != nil {
		s.renewing <- err
		s.renewing = nil
	}
}

// start starts a worker unless one is starting already.
func (s *slot) start() {
	if s.starting != nil {
		return
	}
	s.started++
	c, err := startChild(s)
	if err != nil {
		s.log.Error("start a worker", "err", err)
		s.renewed(err)
		s.retryLater()
		return
	}
	s.starting = c
	s.alive++
	s.retry = nil
	s.log.Info("worker started", "pid", c.pid())
}

// retryLater starts again after the back-off, if nobody serves by then.
func (s *slot) retryLater() {
	if s.serving.Load() != nil {
		return
	}
	s.retry = time.After(s.backoff)
	s.backoff = min(max(2*s.backoff, firstBackoff), s.master.cfg.BackoffMax)
}

func (s *slot) on(ev event) {
	switch ev.what {
	case sayAnswers:
		ev.child.answers = true
	case sayNoTLS, sayTLS:
		ev.child.noTLS.Store(ev.what == sayNoTLS)
	case sayReady:
		s.ready(ev.child)
	case sayStopping:
		s.stopping(ev.child)
	case exited:
		s.exited(ev.child)
	case late:
		if ev.child == s.starting {
			s.log.Error("worker not ready in time", "pid", ev.child.pid(), "timeout", s.master.cfg.ReadyTimeout)
			ev.child.signal(unix.SIGKILL)
		}
	default:
		if text, ok := strings.CutPrefix(ev.what, sayPong); ok {
			s.answered(ev.child, parseStanding(text))
		}
		if text, ok := strings.CutPrefix(ev.what, sayWaits); ok && ev.child == s.starting {
			s.waits.Store(&text)
		}
	}
}

// ready puts c in service and tells the worker before it to stop.
func (s *slot) ready(c *child) {
	if c != s.starting {
		return
	}
	s.starting = nil
	s.waits.Store(nil)
	hangs := s.condition() == silent
	old := s.serving.Swap(c)
	s.log.Info("worker ready", "pid", c.pid())
	s.pulse, s.standing, s.muted, s.condemned = newPulse(s.master.cfg.HeartbeatTimeout, time.Now()), hub.StandingGood, false, false
	s.look()
	if old != nil {
		old.stop(s.stopTimeout(hangs))
	}
	s.renewed(nil)
}

// stopTimeout is how long a worker that is told to stop may take; one that
// hangs does not hear it.
func (s *slot) stopTimeout(hangs bool) time.Duration {
	if hangs {
		return min(s.master.cfg.HungTimeout, s.master.cfg.StopTimeout)
	}
	return s.master.cfg.StopTimeout
}

// stopping takes a worker out of service that does not accept any more and
// that nobody of ours told to stop.
func (s *slot) stopping(c *child) {
	if s.serving.CompareAndSwap(c, nil) {
		s.log.Warn("worker leaves by itself", "pid", c.pid())
		c.reap(s.master.cfg.StopTimeout)
		s.look()
		s.start()
	}
}

func (s *slot) exited(c *child) {
	s.alive--
	s.master.ended.add(c.process, time.Now())
	if c.told.Load() {
		s.log.Info("worker exited", "pid", c.pid(), "status", c.status())
	} else {
		s.master.m.deaths.Inc()
		s.log.Warn("worker died", "pid", c.pid(), "status", c.status())
	}
	if time.Since(c.since) > steady {
		s.backoff = 0
	}
	switch {
	case c == s.starting:
		s.starting = nil
		s.renewed(fmt.Errorf("the new worker, pid %d, exited before it was ready: %s", c.pid(), c.status()))
		s.retryLater()
	case s.serving.CompareAndSwap(c, nil):
		s.look()
		if s.starting == nil {
			s.retryLater()
		}
	}
}

// empty stops the sockets listening and gives away what waits in their queues.
func (s *slot) empty(give func(fd int, overTLS bool) bool) {
	for _, l := range s.listeners {
		err := epoll.Unlisten(l.fd, func(fd int, _ netip.AddrPort) {
			if !give(fd, l.tls) {
				s.master.m.lost.Inc()
			}
			_ = unix.Close(fd) // the worker has a descriptor of its own
		})
		if err != nil && !errors.Is(err, unix.EINVAL) { // which says that it did not listen
			s.log.Error("close a socket", "err", err)
		}
	}
}

// stop stops every worker of the slot, waits until they have exited, and gives
// the one that served what came in at the last moment.
func (s *slot) stop() {
	s.renewed(context.Canceled)
	hangs := s.condition() == silent
	last := s.serving.Swap(nil)
	s.set(vacant)
	if last != nil {
		last.stop(s.stopTimeout(hangs))
	}
	if s.starting != nil {
		s.starting.stop(s.master.cfg.StopTimeout)
	}
	for s.alive > 0 {
		ev := <-s.events
		switch {
		case ev.what == exited:
			s.exited(ev.child)
		case ev.what == sayStopping && ev.child == last:
			s.empty(last.give)
		case ev.what == sayReady && ev.child == s.starting:
			s.starting = nil
		}
	}
	s.retry = nil
}

// tlsClosed reports whether the worker that serves does so without TLS.
func (s *slot) tlsClosed() bool {
	c := s.serving.Load()
	return c != nil && c.noTLS.Load()
}
