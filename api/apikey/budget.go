package apikey

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// budget is what a key may still spend: it grows with time up to burst. Whoever
// finds one unit in it may spend more than there is; then nobody else may until
// the debt is paid off. So a single request may be as large as it needs to be,
// and in the long run the rate holds.
type budget struct {
	mu      sync.Mutex
	limiter *rate.Limiter
}

func newBudget(perSecond float64, burst int) *budget {
	if perSecond <= 0 {
		return &budget{limiter: rate.NewLimiter(rate.Inf, 0)}
	}
	if burst == 0 {
		burst = max(1, int(perSecond))
	}
	return &budget{limiter: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// rounding is how much of a unit may be missing by the inexactness of floats.
const rounding = 1e-6

// spend takes cost off at now if at least floor units are there. Else it takes
// nothing and returns how long it is until they are.
func (b *budget) spend(now time.Time, cost int, floor float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() == rate.Inf {
		return 0
	}
	if short := floor - b.limiter.TokensAt(now); short > rounding {
		return time.Duration(math.Ceil(short / float64(b.limiter.Limit()) * float64(time.Second)))
	}
	for cost > 0 { // one reservation cannot be larger than the burst
		n := min(cost, b.limiter.Burst())
		b.limiter.ReserveN(now, n)
		cost -= n
	}
	return 0
}

// Take spends cost at now. When the key is over its rate, nothing is spent and
// Take returns how long to wait before the next try; else 0.
func (k *Key) Take(now time.Time, cost int) time.Duration { return k.budget.spend(now, cost, 1) }

// TakeMore is Take for a request that has spent something already: it may spend
// more unless the key is in debt.
func (k *Key) TakeMore(now time.Time, cost int) time.Duration {
	return k.budget.spend(now, cost, 0)
}

// Owe spends what could not be known before it was done.
func (k *Key) Owe(now time.Time, cost int) { k.budget.spend(now, cost, math.Inf(-1)) }

// Wait blocks until take, which is Take or TakeMore, has spent cost, or ctx
// ends.
func (k *Key) Wait(ctx context.Context, cost int, take func(time.Time, int) time.Duration) error {
	for {
		wait := take(time.Now(), cost)
		if wait == 0 {
			return nil
		}
		// Many may wait for the same moment: they come one after the other.
		wait += rand.N(wait/8 + time.Millisecond)
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the rate of key %s: %w", k.Name(), ctx.Err())
		case <-time.After(wait):
		}
	}
}
