package child

import (
	"context"
	"time"
)

// Clock is how a child's clock stands to ours.
type Clock struct {
	Offset      time.Duration // what the child's clock is ahead of ours
	Uncertainty time.Duration // the true offset is at most this far from Offset
}

// clockCall is answered by Requests itself, at once, with the child's time.
const clockCall = "clock"

// clockRounds is how often the child is asked; the quickest answer counts.
const clockRounds = 16

// Clock measures the child's clock; that of a child on this machine is ours.
// The clocks of two machines drift apart, up to some milliseconds in an hour,
// so measure again before something long.
func (p *Process) Clock(ctx context.Context) (Clock, error) {
	if p.PID() != 0 {
		return Clock{}, nil
	}
	var best Clock
	for i := range clockRounds {
		var nanos int64
		asked := time.Now()
		if err := p.Call(ctx, clockCall, nil, &nanos, nil); err != nil {
			return Clock{}, err
		}
		half := time.Since(asked) / 2
		if i == 0 || half < best.Uncertainty {
			best = Clock{Offset: time.Unix(0, nanos).Sub(asked.Add(half)), Uncertainty: half}
		}
	}
	return best, nil
}
