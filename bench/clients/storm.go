package clients

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/homing/homing/bench/socket"
	"github.com/homing/homing/bench/times"
)

const (
	stormPatience = 2 * time.Minute      // those who are not back by then have given up
	retryPause    = time.Second          // after a failure, before jitter
	stormBatch    = 256                  // dials between two looks at the sockets
	stormRest     = 5 * time.Millisecond // between two looks at who is due
	never         = time.Duration(math.MaxInt64)
	manyReasons   = 50 // kept apart; the rest are counted together
)

// storm is the time from a cut of all of a process's clients until they are
// back. Durations are since the cut.
type storm struct {
	engine *engine
	began  time.Time
	at     []time.Duration // by client: when it dials, or did dial last; never: it was not cut off
	back   []time.Duration // by client: when it was registered; 0: it is not
	next   int             // client to look at next
	rested time.Duration   // when all had been looked at
	over   bool
	sum    Comeback
}

var errNoHello = fmt.Errorf("no hello within %v", patience)

// newStorm cuts off every client that is connected.
func newStorm(e *engine) *storm {
	s := &storm{
		engine: e, began: time.Now(),
		at: make([]time.Duration, len(e.bees)), back: make([]time.Duration, len(e.bees)),
		sum: Comeback{Reasons: map[string]int{}},
	}
	for i := range e.bees {
		if e.bees[i].state == idle {
			s.at[i] = never
			continue
		}
		socket.Reset(int(e.bees[i].fd))
		e.drop(i)
		s.sum.Thrown++
	}
	return s
}

func (s *storm) now() time.Duration { return time.Since(s.began) }

// step dials for clients that are due and gives up attempts that take too
// long, up to a batch of them.
func (s *storm) step() {
	now := s.now()
	switch {
	case s.over:
		return
	case s.sum.Back == s.sum.Thrown || now > stormPatience:
		s.end()
		return
	case s.next == 0 && now < s.rested+stormRest:
		return
	}
	for dialed := 0; s.next < len(s.at) && dialed < stormBatch; s.next++ {
		if s.look(s.next, now) {
			dialed++
		}
	}
	if s.next == len(s.at) {
		s.next, s.rested = 0, now
	}
}

// look reports whether it dialed.
func (s *storm) look(i int, now time.Duration) bool {
	switch state := s.engine.bees[i].state; {
	case state == open:
	case state == idle && s.at[i] <= now:
		s.at[i] = now
		s.engine.dial(i)
		return true
	case state != idle && now-s.at[i] > patience:
		s.engine.fail(i, errNoHello)
	}
	return false
}

// end gives up those who are still on their way.
func (s *storm) end() {
	s.over = true
	for i := range s.engine.bees {
		if s.engine.bees[i].state != open {
			s.engine.drop(i)
		}
	}
}

// isBack notes that a client is registered again.
func (s *storm) isBack(i int) {
	if s.over {
		return
	}
	s.back[i] = max(1, s.now())
	s.sum.Back++
}

// comesBack plans a client's next attempt after the last ended in state was.
// It reports whether that was no failure: the client was told to wait.
func (s *storm) comesBack(i int, was state, reason error) bool {
	if s.over {
		return false
	}
	if was == open {
		s.back[i] = 0
		s.sum.Back--
	}
	pause := retryPause
	told, ok := errors.AsType[*waitError](reason)
	if ok {
		pause = told.wait
		s.sum.Told++
	} else {
		s.failed(was, reason)
	}
	s.at[i] = s.now() + pause + rand.N(pause/10+retryPause)
	return ok
}

func (s *storm) failed(was state, reason error) {
	why := reason.Error()
	if was == open {
		why = "after hello: " + why
	}
	if _, known := s.sum.Reasons[why]; !known && len(s.sum.Reasons) >= manyReasons {
		why = "other reasons"
	}
	s.sum.Reasons[why]++
	s.sum.Failed++
}

// report says how far the storm is; the times come once it is over.
func (s *storm) report() (comeback, error) {
	c := comeback{Comeback: s.sum, Over: s.over, Counts: s.engine.count}
	if !s.over {
		return c, nil
	}
	wait := times.New()
	for _, d := range s.back {
		c.Took = max(c.Took, d)
		if d > 0 {
			_ = wait.RecordValue(max(1, d.Microseconds())) // patience is within its range
		}
	}
	var err error
	c.Wait, err = times.Encode(wait)
	return c, err
}
