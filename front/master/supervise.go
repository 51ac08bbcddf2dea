package master

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

// condition is what the slot's worker is good for.
func (s *slot) condition() condition { return s.state.Load().condition }

// beat asks the worker whether it answers, kills it when it has not for too
// long, and sees to it that the sockets listen or not, as they should.
func (s *slot) beat() {
	if c := s.serving.Load(); c != nil && c.answers {
		s.tellTickets(c)
		s.pulse.tick(time.Now())
		s.pulse.sent = s.pulse.sent || c.say(sayPing)
		if s.pulse.silent >= s.master.cfg.HungTimeout {
			s.condemn(c)
		}
	}
	s.look()
}

// condemn kills a worker that hangs: a signal that asked it to end would reach
// nobody. Its successor starts when it has exited.
func (s *slot) condemn(c *child) {
	if s.condemned {
		return
	}
	s.condemned = true
	s.master.m.hung.Inc()
	s.log.Error("worker hangs: killed", "pid", c.pid(), "silent", s.pulse.silent)
	c.signal(unix.SIGKILL)
}

// answered notes that c's loop runs, and what c says of its standing.
func (s *slot) answered(c *child, standing hub.Standing) {
	if c != s.serving.Load() {
		return
	}
	s.pulse.answered()
	s.standing = standing
	s.look()
}

// look judges the worker anew and acts on it.
func (s *slot) look() {
	s.set(s.judge())
	s.place()
}

func (s *slot) judge() condition {
	switch {
	case s.serving.Load() == nil:
		return vacant
	case s.pulse.silent >= s.master.cfg.HeartbeatTimeout:
		return silent
	default:
		return ofStanding(s.standing)
	}
}

func (s *slot) set(c condition) {
	was := s.state.Load()
	if c == was.condition {
		return
	}
	s.state.Store(&state{c, time.Now()})
	switch {
	case c == fit && was.condition != vacant:
		s.log.Info("worker serves again", "was", was.String())
	case c != fit && c != vacant:
		s.log.Warn("worker does not serve", "why", c.String())
	}
}

// place takes the slot's sockets out of the port's group when others serve and
// this slot does not, and back in when it does. When no other does it is better
// to wait here.
func (s *slot) place() {
	now := s.state.Load()
	switch {
	case now.condition == fit:
		s.admit()
	case s.out.Load():
		s.keepOut()
	case time.Since(now.since) >= s.patience(now.condition) && s.master.othersFit(s):
		s.log.Info("slot closed: its connections go to the others", "why", now.String())
		s.out.Store(true)
		s.keepOut()
	}
}

// keepOut gives what waits in the sockets' queues to the workers of other slots
// and stops the sockets listening, also when a worker that has started or woken
// up meanwhile had them listen again. A worker that can hear it is told before,
// so that it does not.
func (s *slot) keepOut() {
	c := s.serving.Load()
	if c != nil && c.answers && s.condition() != silent && !s.muted {
		s.muted = c.say(sayMute)
		return // until the next beat
	}
	s.empty(func(fd int, overTLS bool) bool { return s.master.hand(fd, overTLS, s) })
}

// admit has the worker's sockets listen again.
func (s *slot) admit() {
	if !s.out.Load() {
		return
	}
	if c := s.serving.Load(); c.answers && !c.say(sayListen) {
		return // until the next beat
	}
	s.out.Store(false)
	s.muted = false
	s.log.Info("slot listens again")
}

// patience is how long a condition may last before the slot is closed, if
// another one serves.
func (s *slot) patience(c condition) time.Duration {
	switch c {
	case vacant:
		return s.master.cfg.UnlistenAfter
	case doubtful:
		return s.master.cfg.DoubtTimeout
	default:
		return 0 // silent: that took its time already; lost: it does not come back
	}
}
