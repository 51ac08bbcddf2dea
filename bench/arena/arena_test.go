package arena

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"

	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func times(micros ...int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, 180_000_000, 3)
	for _, v := range micros {
		_ = h.RecordValue(v)
	}
	return h
}

// played is a game of ten seconds with every tick kept, all frames late by late µs.
func played(playing int, late int64) Game {
	return Game{
		Entered: playing, Hz: 20,
		Report: crowd.Report{
			Counts: crowd.Counts{Players: playing, Frames: playing * 200, Sent: playing * 400},
			Took:   10 * time.Second, Late: times(late), Echo: times(25_000), Behind: times(100),
		},
		Used: usage.Interval{Groups: map[string]usage.Used{rig.Front: {CPU: 5 * time.Second, Cores: 0.5}}},
	}
}

func TestFigures(t *testing.T) {
	g := played(400, 2000)
	for name, c := range map[string]struct{ got, want float64 }{
		"per player":  {g.PerPlayer(), 20},
		"per core":    {g.PerCore(), 800},
		"per message": {g.MicrosPer(g.Sent), 31.25},
		"late":        {g.LateMs(99), 2},
		"echo":        {g.EchoMs(50), 25},
		"behind":      {g.BehindMs(50), 0.1},
	} {
		if c.got < 0.99*c.want || c.got > 1.01*c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func TestKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Game)
		kept   bool
	}{
		"kept":           {func(*Game) {}, true},
		"a tick missed":  {func(g *Game) { g.Skipped = 1 }, true},
		"ticks missed":   {func(g *Game) { g.Skipped = g.Frames / 500 }, false},
		"too few frames": {func(g *Game) { g.Frames = g.Frames * 97 / 100 }, false},
		"too late":       {func(g *Game) { g.Late = times(51_000) }, false},
		"a player lost":  {func(g *Game) { g.Lost = 1 }, false},
		"nobody played":  {func(g *Game) { *g = Game{Entered: 400, Hz: 20} }, false},
	} {
		g := played(400, 2000)
		c.change(&g)
		if g.Kept() != c.kept {
			t.Errorf("%s: kept %v", name, g.Kept())
		}
	}
}

// holding is a system that keeps its ticks up to a number of players, and whose
// frames are on time up to another.
func holding(t *testing.T, most, calmUpTo, size int, tried *int) func(int) (Game, error) {
	return func(n int) (Game, error) {
		*tried++
		if n < size || n%size != 0 {
			t.Errorf("%d players in rooms of %d", n, size)
		}
		late := int64(2000)
		if n > calmUpTo {
			late = 30_000
		}
		g := played(n, late)
		if n > most {
			g.Skipped = g.Frames / 2
		}
		return g, nil
	}
}

func TestPeakIsFound(t *testing.T) {
	const size, capacity = 20, 1500
	for _, c := range []struct{ from, most, calmUpTo, low, high int }{
		{400, 0, capacity, 1400, 1500},
		{6000, 0, capacity, 1300, 1500}, // from above
		{1500, 0, capacity, 1500, 1500},
		{400, 700, capacity, 500, 700}, // not beyond most
		{400, 0, 900, 900, 1130},       // calm at four fifths
	} {
		tried := 0
		p, err := search(c.from, c.most, size, holding(t, capacity, c.calmUpTo, size, &tried))
		if err != nil {
			t.Fatal(err)
		}
		if n := p.Best.Entered; n < c.low || n > c.high {
			t.Errorf("%+v: peak %d", c, n)
		}
		if n := p.Share.Entered; n > p.Best.Entered*4/5 || n < p.Best.Entered*3/4 || !p.Share.Kept() || p.Share.LateMs(99) >= calm {
			t.Errorf("%+v: peak %d, at its share %d, %v", c, p.Best.Entered, n, p.Share)
		}
		if over := p.Over.Entered; c.most == 0 && over <= capacity || c.most > 0 && over != 0 {
			t.Errorf("%+v: too many are %d", c, over)
		}
		if tried > 20 {
			t.Errorf("%+v: %d games", c, tried)
		}
	}
	tried := 0
	if _, err := search(400, 0, size, holding(t, 0, 0, size, &tried)); !errors.Is(err, errNeverKept) {
		t.Errorf("error = %v", err)
	}
}

func TestSeatsAreResolved(t *testing.T) {
	s, err := Seat{URL: "ws://127.0.0.1:81/ws?a=b%3D", Login: "hello"}.resolve(3, 2, 77)
	if err != nil || s.Addr.String() != "127.0.0.1:81" || s.Path != "/ws?a=b%3D" || s.Login != "hello" || s.Room != 3 || s.Number != 2 || s.From != 77 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"http://127.0.0.1:81/", "ws://host:81/", "ws://[::1]:81/", ":"} {
		if s, err := (Seat{URL: bad}).resolve(0, 0, 0); err == nil || !strings.Contains(err.Error(), "seat") {
			t.Errorf("%s: %+v, %v", bad, s, err)
		}
	}
}
