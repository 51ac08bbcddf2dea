package front

import (
	"sync/atomic"

	"github.com/homing/homing/hub"
)

// standing is what the worker may assume of what the others think of it. It is
// safe for concurrent use.
type standing struct {
	ask      func() hub.Standing
	disowned atomic.Bool // it is lost for good
}

// now returns the standing at this moment. Once it was hub.StandingLost it stays
// that. It does not block.
func (s *standing) now() hub.Standing {
	if s.disowned.Load() {
		return hub.StandingLost
	}
	st := s.ask()
	if st >= hub.StandingLost {
		s.disowned.Store(true)
	}
	return st
}

func (s *standing) good() bool { return s.now() == hub.StandingGood }
