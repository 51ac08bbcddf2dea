package lease

import (
	"fmt"
	"time"
)

// Config is what an operator can choose about leases.
type Config struct {
	Isolation time.Duration `help:"A front worker that had no way to any Redis for this long sends its players away, so that they can find a front that has. 0: never." default:"20s"`
}

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if c.Isolation != 0 && c.Isolation < Period {
		return fmt.Errorf("lease.isolation: %v: want 0, or at least the %v that a lease stands", c.Isolation, Period)
	}
	return nil
}

// Period is how long a lease stands unless it is renewed.
const Period = 6 * time.Second

// Timing is how often things happen. Only tests choose another than
// DefaultTiming.
type Timing struct {
	Period   time.Duration // how long a lease stands
	Refresh  time.Duration // between readings of all leases
	Patience time.Duration // for the answer of a process whose lease has lapsed
}

// patience is so long because a process that stands still for a moment, as a
// machine that migrates, loses nothing as long as it is not declared dead: what
// is sent to it waits. A worker that crashed need not be waited for, because
// its master knows and has it buried.
const patience = 11 * time.Second

// DefaultTiming is the timing of every server.
func DefaultTiming() Timing {
	return Timing{Period: Period, Refresh: time.Second, Patience: patience}
}
