package arena

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// Game is what players have seen for a while, and what that took.
type Game struct {
	crowd.Report

	Entered int // players that there should be
	Hz      int
	Used    usage.Interval
}

// A game keeps its ticks when players miss no larger share of their frames: that is
// for a machine that does other things now and then. Of the ticks at the two ends of
// a game one may be outside of it.
const mostMissed = 0.001

// Kept reports whether players got a frame a tick, none of them much later than
// the tick: not after the next one.
func (g Game) Kept() bool {
	due := g.Took.Seconds()*float64(g.Hz) - 1
	return g.Frames > 0 && g.Lost == 0 &&
		float64(g.Frames) >= (1-mostMissed)*due*float64(g.Entered) &&
		float64(g.Skipped) <= mostMissed*float64(g.Frames) && g.LateMs(99) < 1000/float64(g.Hz)
}

// PerPlayer is the frames a second that one player gets.
func (g Game) PerPlayer() float64 {
	return float64(g.Frames) / g.Took.Seconds() / float64(max(1, g.Entered))
}

// LateMs is by how many milliseconds a frame comes after its tick: a percentile;
// NaN when there were no frames.
func (g Game) LateMs(percent float64) float64 { return ms(g.Late, percent) }

// EchoMs is how many milliseconds it takes from the instant at which a player is
// to say where it is until it reads that in a frame: a percentile.
func (g Game) EchoMs(percent float64) float64 { return ms(g.Echo, percent) }

// BehindMs is how many milliseconds after its instant a message is sent: a
// percentile.
func (g Game) BehindMs(percent float64) float64 { return ms(g.Behind, percent) }

func ms(h *hdrhistogram.Histogram, percent float64) float64 {
	if h == nil || h.TotalCount() == 0 {
		return math.NaN()
	}
	return float64(h.ValueAtPercentile(percent)) / 1000
}

// Cores is how many cores a group of processes used.
func (g Game) Cores(group string) float64 { return g.Used.Groups[group].Cores }

// PerCore is how many players a core of the front holds, at this load.
func (g Game) PerCore() float64 { return float64(g.Players) / g.Cores(rig.Front) }

// MicrosPer is the front's CPU time, in µs, for each of n.
func (g Game) MicrosPer(n int) float64 {
	return float64(g.Used.Groups[rig.Front].CPU.Nanoseconds()) / 1000 / float64(max(1, n))
}

// Play has the players play: for warm first, and then for d, which is measured.
func (a *Arena) Play(ctx context.Context, warm, d time.Duration) (g Game, err error) {
	p := a.opts.Party
	if err := p.Play(ctx, a.opts.Rate); err != nil {
		return g, fmt.Errorf("begin to play: %w", err)
	}
	if err := rig.Pause(ctx, warm); err != nil {
		return g, err
	}
	if err := p.Mark(ctx); err != nil {
		return g, fmt.Errorf("begin to measure: %w", err)
	}
	before, err := a.read()
	if err != nil {
		return g, err
	}
	if err := rig.Pause(ctx, d); err != nil {
		return g, err
	}
	after, err := a.read()
	if err != nil {
		return g, err
	}
	g.Entered, g.Hz, g.Used = a.playing, a.opts.Hz, after.Since(before)
	if g.Report, err = p.Report(ctx); err != nil {
		return g, fmt.Errorf("ask players what they have seen: %w", err)
	}
	a.opts.Say("%s", g)
	return g, a.opts.System.Alive()
}

func (a *Arena) read() (usage.Reading, error) {
	r, err := a.sampler.Read()
	if err != nil {
		return r, fmt.Errorf("read what the system uses: %w", err)
	}
	return r, nil
}

// String is a line of progress.
func (g Game) String() string {
	lost := ""
	if g.Lost > 0 {
		lost = fmt.Sprintf(", %d players lost: %s", g.Lost, g.Why)
	}
	return fmt.Sprintf("%d players: %.2f frames/s each of %d, %d ticks missed, late p50 %.1f p99 %.1f ms, front %.2f, players %.2f cores, machine %.2f of %d%s",
		g.Entered, g.PerPlayer(), g.Hz, g.Skipped, g.LateMs(50), g.LateMs(99), g.Cores(rig.Front), g.Cores(rig.Clients), g.Used.Busy, g.Used.Cores, lost)
}
