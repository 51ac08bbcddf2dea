package room

import "time"

// budget is what may be spent of something that comes back with time: a bucket that
// holds one second's worth, or as much as may be spent at once if that is more.
type budget struct {
	left float64
	at   time.Duration // when left was true
	met  bool          // it was used before
}

// spend takes cost, which is at most most, off, or reports false when there is less.
func (b *budget) spend(now time.Duration, perSecond, cost, most float64) bool {
	holds := max(perSecond, most)
	if !b.met {
		*b = budget{left: holds, at: now, met: true}
	}
	if passed := (now - b.at).Seconds(); passed > 0 {
		b.left, b.at = min(holds, b.left+passed*perSecond), now
	}
	if b.left < cost {
		return false
	}
	b.left -= cost
	return true
}
