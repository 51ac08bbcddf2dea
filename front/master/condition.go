package master

import (
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// condition is what a slot's worker is good for.
type condition uint32

const (
	vacant   condition = iota // no worker serves
	fit                       // it answers, and others reach it
	silent                    // it does not answer
	doubtful                  // it cannot show that others reach it
	lost                      // it was taken for dead, and ends
)

func (c condition) String() string {
	switch c {
	case fit:
		return "serves"
	case vacant:
		return "has no worker"
	case silent:
		return "does not answer"
	case doubtful:
		return "cannot show that it is reached"
	default:
		return "was taken for dead"
	}
}

// standings are the conditions of a worker that answers.
var standings = map[condition]hub.Standing{
	fit:      hub.StandingGood,
	doubtful: hub.StandingDoubt,
	lost:     hub.StandingLost,
}

// ofStanding is the condition of a worker that answers.
func ofStanding(standing hub.Standing) condition {
	for c, s := range standings {
		if s == standing {
			return c
		}
	}
	return lost
}

// parseStanding reads what hub.Standing's String writes. What it does not know
// is taken for good: a worker may be of a later version than its master.
func parseStanding(text string) hub.Standing {
	for _, s := range standings {
		if text == s.String() {
			return s
		}
	}
	return hub.StandingGood
}

// state is a slot's condition, for other goroutines.
type state struct {
	condition condition
	since     time.Time
}

func (s state) String() string {
	return fmt.Sprintf("%v for %v", s.condition, time.Since(s.since).Round(100*time.Millisecond))
}
