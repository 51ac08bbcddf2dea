package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/poll"
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

	serving atomic.Pointer[child] // the worker that accepts; nil: none

	// Owned by run.
	starting *child // a worker that is not ready yet
	alive    int    // processes that have not exited
	started  int    // processes started so far
	renewing chan error
	backoff  time.Duration
	retry    <-chan time.Time // when to start again
	vacant   <-chan time.Time // when to close the sockets
	closed   bool             // the sockets do not listen
}

// socket is a listening socket of a slot.
type socket struct {
	fd  int
	tls bool
}

// event is something that happened to a child.
type event struct {
	child *child
	what  string // ready, stopping, exited, or late: not ready in time
}

const (
	// steady is how long a worker must have run for its death to count as the
	// first one, which is answered by a restart at once.
	steady       = 10 * time.Second
	firstBackoff = 100 * time.Millisecond
)

func newSlot(m *Master, index int, addrs []Address, o poll.Options) (*slot, error) {
	s := &slot{
		master: m, index: index, log: m.log.With("slot", index),
		events: make(chan event), renewals: make(chan chan error),
	}
	for _, a := range addrs {
		fd, err := poll.Listen(a.Addr, o)
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, socket{fd, a.TLS})
	}
	return s, nil
}

// addresses returns what the slot listens on.
func (s *slot) addresses() []Address {
	var out []Address
	for _, l := range s.listeners {
		addr, err := poll.LocalAddr(l.fd)
		if err != nil {
			continue // of a socket of our own: cannot happen
		}
		out = append(out, Address{addr.String(), l.tls})
	}
	return out
}

func (s *slot) close() {
	for _, l := range s.listeners {
		_ = unix.Close(l.fd) // nobody is left to tell
	}
	s.listeners = nil
}

// run keeps a worker on the slot until ctx ends, then stops all it started.
func (s *slot) run(ctx context.Context) {
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
		case <-s.vacant:
			s.unlisten()
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
	case "ready":
		s.ready(ev.child)
	case "stopping":
		s.stopping(ev.child)
	case "exited":
		s.exited(ev.child)
	case "late":
		if ev.child == s.starting {
			s.log.Error("worker not ready in time", "pid", ev.child.pid(), "timeout", s.master.cfg.ReadyTimeout)
			ev.child.signal(unix.SIGKILL)
		}
	}
}

// ready puts c in service and tells the worker before it to stop.
func (s *slot) ready(c *child) {
	if c != s.starting {
		return
	}
	s.starting = nil
	s.vacant, s.closed = nil, false // the worker has had its sockets listen
	old := s.serving.Swap(c)
	s.master.m.ready.Set(float64(s.master.countServing()))
	s.log.Info("worker ready", "pid", c.pid())
	if old != nil {
		old.stop(s.master.cfg.StopTimeout)
	}
	s.renewed(nil)
}

// stopping takes a worker out of service that does not accept any more and
// that nobody of ours told to stop.
func (s *slot) stopping(c *child) {
	if s.serving.CompareAndSwap(c, nil) {
		s.vacated()
		s.start()
	}
}

// vacated notes that nobody accepts from the slot's sockets.
func (s *slot) vacated() {
	s.master.m.ready.Set(float64(s.master.countServing()))
	s.vacant = time.After(s.master.cfg.UnlistenAfter)
}

func (s *slot) exited(c *child) {
	s.alive--
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
		s.vacated()
		if s.starting == nil {
			s.retryLater()
		}
	}
}

// unlisten takes the sockets of a slot without a worker out of the port's
// group. What waits in their queues goes to the workers of other slots. When
// there are none it is better to wait.
func (s *slot) unlisten() {
	s.vacant = nil
	if !s.master.othersServe(s) {
		s.vacant = time.After(s.master.cfg.UnlistenAfter)
		return
	}
	s.log.Warn("no worker: sockets closed until there is one")
	s.closed = true
	s.empty(func(fd int, overTLS bool) bool { return s.master.hand(fd, overTLS, s) })
}

// empty stops the sockets listening and gives away what waits in their queues.
func (s *slot) empty(give func(fd int, overTLS bool) bool) {
	for _, l := range s.listeners {
		err := poll.Unlisten(l.fd, func(fd int, _ netip.AddrPort) {
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
	last := s.serving.Swap(nil)
	if last != nil {
		last.stop(s.master.cfg.StopTimeout)
	}
	if s.starting != nil {
		s.starting.stop(s.master.cfg.StopTimeout)
	}
	for s.alive > 0 {
		ev := <-s.events
		switch {
		case ev.what == "exited":
			s.exited(ev.child)
		case ev.what == "stopping" && ev.child == last:
			s.empty(last.give)
		case ev.what == "ready" && ev.child == s.starting:
			s.starting = nil
		}
	}
	s.retry, s.vacant = nil, nil
}
