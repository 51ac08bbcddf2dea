package arena

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/homing/homing/bench/crowd"
)

const (
	// growth is how many times as many players each step of the search has while
	// ticks are kept; then the gap is halved narrowings times.
	growth     = 1.4
	narrowings = 3
	// calm is how late the 99th of a hundred frames may be, in milliseconds, with
	// calmShare of the players that are the peak.
	calm      = 10
	calmShare = 0.8
	// retreat is what is left of a peak that is not calm at its share.
	retreat  = 0.85
	retreats = 6
)

// Peak is the most players that a system holds with every tick kept, and so that
// frames are on time at four fifths of that.
type Peak struct {
	Best  Game
	Over  Game // with the fewest players that were too many; no players: there were none
	Share Game // with four fifths of the players of Best, or fewer when those were too late
}

var errNeverKept = errors.New("ticks are not kept")

// Peak searches for the peak, in games of the length d, each with players of its
// own: from a number of players upwards, or, when that is too many already,
// downwards first. It does not go beyond most; 0: no limit.
func (a *Arena) Peak(ctx context.Context, from, most int, warm, d time.Duration) (Peak, error) {
	return search(from, most, a.opts.Size, func(playing int) (Game, error) {
		if err := a.Clear(ctx); err != nil {
			return Game{}, err
		}
		err := a.Fill(ctx, playing)
		if errors.Is(err, crowd.ErrFailed) && a.opts.System.Alive() == nil {
			a.opts.Say("  %v", err)
			return Game{Entered: playing, Hz: a.opts.Hz}, nil // nobody has seen a frame: not kept
		}
		if err != nil {
			return Game{}, err
		}
		return a.Play(ctx, warm, d)
	})
}

// search is Peak over any way to try a number of players, in whole rooms of size.
func search(from, most, size int, try func(playing int) (Game, error)) (p Peak, err error) {
	whole := func(playing float64) int { return max(1, int(playing)/size) * size }
	for n := whole(float64(from)); p.Best.Entered == 0; n = whole(float64(n) / 2) {
		if err := p.step(n, try); err != nil {
			return p, err
		}
		if p.Best.Entered == 0 && n == size {
			return p, fmt.Errorf("search for the most players: one room of %d: %w", size, errNeverKept)
		}
	}
	for p.Over.Entered == 0 {
		n := max(whole(float64(p.Best.Entered)*growth), p.Best.Entered+size)
		if most > 0 && n > most {
			break
		}
		if err := p.step(n, try); err != nil {
			return p, err
		}
	}
	for range narrowings {
		n := whole(float64(p.Best.Entered+p.Over.Entered) / 2)
		if p.Over.Entered == 0 || n == p.Best.Entered {
			break
		}
		if err := p.step(n, try); err != nil {
			return p, err
		}
	}
	return p, p.calm(whole, try)
}

func (p *Peak) step(n int, try func(playing int) (Game, error)) error {
	g, err := try(n)
	if err != nil {
		return err
	}
	if g.Kept() {
		p.Best = g
	} else {
		p.Over = g
	}
	return nil
}

// calm measures at a share of the peak, and lowers the peak until frames are on
// time there.
func (p *Peak) calm(whole func(float64) int, try func(playing int) (Game, error)) (err error) {
	for range retreats {
		if p.Share, err = try(whole(float64(p.Best.Entered) * calmShare)); err != nil {
			return err
		}
		if p.Share.Kept() && p.Share.LateMs(99) < calm {
			return nil
		}
		n := whole(float64(p.Best.Entered) * retreat)
		if n == p.Best.Entered {
			return nil
		}
		if p.Best, err = try(n); err != nil {
			return err
		}
	}
	return nil
}
