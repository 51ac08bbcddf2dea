package rig

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// growth is how much each step of the search for the peak adds while
	// steps are sustained; then the gap is halved narrowings times.
	growth     = 1.3
	narrowings = 3
	// mayBeBehind is a backlog that is no sign of one that grows: at 3% too
	// much, a step of eight seconds ends with more.
	mayBeBehind = 250 * time.Millisecond
	// mayBeLate is the p99 latency beyond which nobody would call a rate sustained.
	mayBeLate = time.Second
)

// Peak is the largest rate that a system sustains.
type Peak struct {
	Best Load // at that rate
	Over Load // at the least rate that was too much: what the system ran out of; zero when there was none
}

// Sustained reports whether the system kept up: everything accepted, no
// backlog that grew, and p99 under a second.
func (l Load) Sustained() bool {
	return l.Refused == 0 && l.Behind <= mayBeBehind && l.Percentile(99) < mayBeLate.Seconds()*1000
}

var errNotSustained = errors.New("not sustained")

// Peak searches for the largest rate of calls that the system sustains, in
// steps of the given length: from a rate upwards, or, when that one is too
// much already, downwards first. It does not go beyond most; 0: no limit.
func (g *Rig) Peak(ctx context.Context, from, most float64, step time.Duration) (Peak, error) {
	return search(from, most, func(rate float64) (Load, error) {
		l, err := g.Load(ctx, rate, step)
		if err == nil {
			g.opts.Say("  %.0f deliveries/s, p99 %.1f ms, %v behind: sustained %v",
				l.PerSecond(), l.Percentile(99), l.Behind.Round(time.Millisecond), l.Sustained())
		}
		return l, err
	})
}

// search is Peak over any way to try a rate.
func search(from, most float64, try func(rate float64) (Load, error)) (p Peak, err error) {
	for rate := from; p.Best.Rate == 0; rate /= 2 {
		if rate < 1 {
			return p, fmt.Errorf("search for the peak: %.1f calls/s: %w", 2*rate, errNotSustained)
		}
		if err := p.step(rate, try); err != nil {
			return p, err
		}
	}
	for rate := p.Best.Rate * growth; p.Over.Rate == 0; rate *= growth {
		if most > 0 && rate > most {
			return p, nil
		}
		if err := p.step(rate, try); err != nil {
			return p, err
		}
	}
	for range narrowings {
		if err := p.step((p.Best.Rate+p.Over.Rate)/2, try); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *Peak) step(rate float64, try func(rate float64) (Load, error)) error {
	l, err := try(rate)
	if err != nil {
		return err
	}
	if l.Sustained() {
		p.Best = l
	} else {
		p.Over = l
	}
	return nil
}
