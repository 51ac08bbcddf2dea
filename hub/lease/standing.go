package lease

import (
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/hub"
)

// Standing is what the holder of a lease knows of how it stands with the
// others. Its methods are safe for concurrent use and never block.
//
// It goes by the clock that also counts while the machine sleeps
// (CLOCK_BOOTTIME of clock_gettime(2)), so that a process that was stopped
// finds out before it does anything else. A virtual machine that is halted from
// outside may stop that clock as well; then the next renewal tells.
type Standing struct {
	period    int64
	isolation int64 // 0: never lost for being alone
	log       *slog.Logger
	clock     func() int64           // nanoseconds
	silence   func() time.Duration   // of pub/sub; nil: not asked
	until     atomic.Int64           // on the clock; 0: the lease has never stood
	lost      atomic.Pointer[string] // why; nil: not lost
}

// NewStanding returns the standing of a process that has no lease yet.
func NewStanding(cfg Config, t Timing, log *slog.Logger) *Standing {
	return &Standing{period: int64(t.Period), isolation: int64(cfg.Isolation), log: log, clock: boottime}
}

func boottime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for unknown clocks only
	return ts.Nano()
}

// HearOf sets what tells how long pub/sub has brought nothing back. It is
// called before the standing is used.
func (s *Standing) HearOf(silence func() time.Duration) { s.silence = silence }

// Now returns the present standing. It costs a reading of the clock.
func (s *Standing) Now() hub.Standing {
	until := s.until.Load()
	switch now := s.clock(); {
	case s.lost.Load() != nil:
		return hub.StandingLost
	case now < until, until == 0: // before its first lease nobody can have missed it
		return hub.StandingGood
	case s.alone(now - until):
		s.lose("no way to any Redis")
		return hub.StandingLost
	default:
		return hub.StandingDoubt
	}
}

// alone reports whether the process has been without any way to Redis for too
// long, given how long ago it was last believed. As long as pub/sub brings
// messages back it is not: then only data Redis is away, perhaps for everybody.
func (s *Standing) alone(since int64) bool {
	return s.isolation > 0 && since > s.isolation-s.period &&
		(s.silence == nil || int64(s.silence()) > s.isolation)
}

// Mark is the present moment, for Believed. It is never 0.
func (s *Standing) Mark() uint64 { return uint64(max(1, s.clock())) }

// Believed notes that others take the process to live for a lease's period from
// the moment that mark was drawn. A mark from the future is none.
func (s *Standing) Believed(mark uint64) {
	if mark == 0 || mark > s.Mark() {
		return
	}
	until := int64(mark) + s.period
	for {
		before := s.until.Load()
		if until <= before || s.until.CompareAndSwap(before, until) {
			return
		}
	}
}

// Granted takes the answer of a process that was told that this one lives.
func (s *Standing) Granted(mark uint64, dead bool) {
	if dead {
		s.lose("declared dead")
		return
	}
	s.Believed(mark)
}

// Disown notes that the process was declared dead. There is no way back.
func (s *Standing) Disown() { s.lose("declared dead") }

func (s *Standing) lose(why string) {
	if s.lost.CompareAndSwap(nil, &why) {
		s.log.Error("this process is given up", "why", why)
	}
}

// Lost reports why the process is given up, "" when it is not.
func (s *Standing) Lost() string {
	if why := s.lost.Load(); why != nil {
		return *why
	}
	return ""
}

// Seeking reports whether the process should look for others to vouch for it:
// half of the time that it is believed for has passed without a renewal.
func (s *Standing) Seeking() bool {
	until := s.until.Load()
	return until != 0 && s.lost.Load() == nil && s.clock() > until-s.period/2
}
