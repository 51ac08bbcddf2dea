package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/times"
)

// Comeback says how clients that were thrown off came back.
type Comeback struct {
	Thrown  int                     // clients cut off
	Back    int                     // of those, registered again at the end
	Told    int                     // times that one was told to wait and come back
	Failed  int                     // attempts that ended in another way, before hello or after
	Reasons map[string]int          // why, and how often each
	Took    time.Duration           // from the cut until the last of those that are back was
	Wait    *hdrhistogram.Histogram // µs from the cut to hello, of each that is back
}

// comeback is a Comeback as a process reports it.
type comeback struct {
	Comeback
	Wait   string // in place of the histogram, which is encoded here; empty while it is not over
	Over   bool
	Counts Counts
}

// stormLook is how often a storm's progress is asked for.
const stormLook = 200 * time.Millisecond

// Storm resets the connections of all apart clients at one instant; every one
// of them dials again at once. A client that a front tells to wait (503 with
// Retry-After, close code 1012 or 1013, a reconnect message) does so and tries
// again; one that fails in any other way, or gets no hello within 20 seconds,
// tries again after a second; jitter makes both pauses longer by up to a tenth
// and a second, as our own client does.
// Storm returns when all are back, or after two minutes: those that are not
// back then have given up. onProgress (may be nil) hears the apart clients'
// totals a few times a second. When ctx ends first, Storm returns what is known
// by then, without times, and the clients go on coming back by themselves.
func (h *Hive) Storm(ctx context.Context, onProgress func(Counts)) (Comeback, error) {
	if err := h.fault(ctx, "storm"); err != nil {
		return Comeback{}, err
	}
	tick := time.NewTicker(stormLook)
	defer tick.Stop()
	var sum Comeback
	for over := false; !over; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sum, ctx.Err()
		}
		all, err := h.comebacks(context.WithoutCancel(ctx)) // brief, and not worth a process's life
		if err != nil {
			return sum, err
		}
		if sum, over, err = addComebacks(all, onProgress); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (h *Hive) comebacks(ctx context.Context) ([]comeback, error) {
	all := make([]comeback, len(h.bees))
	for i := range all {
		all[i].Over = true // a process without apart clients is not asked
	}
	err := h.subjects(func(i int, p *child.Process) error {
		all[i] = comeback{}
		return p.Call(ctx, "comeback", nil, &all[i], nil)
	})
	return all, err
}

// addComebacks sums up what processes report, and says whether all are done.
func addComebacks(all []comeback, onProgress func(Counts)) (sum Comeback, over bool, err error) {
	sum = Comeback{Reasons: map[string]int{}, Wait: times.New()}
	over = true
	var counts Counts
	for _, c := range all {
		counts, over = counts.plus(c.Counts), over && c.Over
		if c.Wait != "" {
			err = times.Add(sum.Wait, c.Wait)
		}
		if err != nil {
			return sum, over, err
		}
		sum.add(c.Comeback)
	}
	if onProgress != nil {
		onProgress(counts)
	}
	return sum, over, nil
}

func (c *Comeback) add(d Comeback) {
	c.Thrown += d.Thrown
	c.Back += d.Back
	c.Told += d.Told
	c.Failed += d.Failed
	c.Took = max(c.Took, d.Took)
	for why, times := range d.Reasons {
		c.Reasons[why] += times
	}
}

// Stall makes the apart clients stop reading, for good: whatever a front sends
// stays in the kernel's buffers, and that it closed one is never noticed.
func (h *Hive) Stall(ctx context.Context) error {
	return h.fault(ctx, "stall")
}

var errNobodyApart = errors.New("no client is apart")

// fault strikes all apart clients.
func (h *Hive) fault(ctx context.Context, what string) error {
	if !slices.ContainsFunc(h.shares, share.subjects) {
		return fmt.Errorf("%s: %w", what, errNobodyApart)
	}
	return h.subjects(func(_ int, p *child.Process) error { return p.Call(ctx, what, nil, nil, nil) })
}
