package report

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// labels returns what stands beside the axis.
func labels(a axis) []string {
	var out []string
	for _, t := range a.ticks {
		if t.Label != "" {
			out = append(out, t.Label)
		}
	}
	return out
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		extent
		y, log bool
		want   string
	}{
		{extent{3, 47}, true, false, "0 10 20 30 40 50"},
		{extent{-3, 4}, true, false, "-5 0 5"},
		{extent{0.02, 0.3}, true, false, "0 0.1 0.2 0.3"},
		{extent{0, 0}, true, false, "-0.5 0 0.5"},
		{extent{0, 1200}, false, false, "0 500 1000"},
		{extent{5, 5}, false, false, "4 4.5 5 5.5 6"},
		{extent{15_000, 200_000}, false, false, "50k 100k 150k 200k"},
		{extent{1.5, 900}, true, true, "1 10 100 1000"},
		{extent{3, 40}, true, true, "2 5 10 20 50"},
		{extent{1000, 200_000}, false, true, "1000 10k 100k"},
		{extent{1.2, 1.8}, false, true, "1 2"},
		{extent{7, 7}, true, true, "5 10"},
		{extent{1e5, 1e10}, true, true, "100k 1M 10M 100M 1G 10G"},
	} {
		e := c.extent
		if c.y {
			e = e.fit(c.log, 6)
		}
		a := newAxis(e, c.log, 6)
		if got := strings.Join(labels(a), " "); got != c.want {
			t.Errorf("%v (y %v, log %v): %s, want %s", c.extent, c.y, c.log, got, c.want)
		}
		if low, high := a.scale.Map(c.low), a.scale.Map(c.high); low < -1e-9 || high > 1+1e-9 {
			t.Errorf("%v lies at %v to %v", c.extent, low, high)
		}
	}
}

func TestLatencyChart(t *testing.T) {
	h := hdrhistogram.New(1, 10_000_000, 3)
	for i := range int64(1000) {
		_ = h.RecordValue(1000 + i)
	}
	empty := hdrhistogram.New(1, 10, 1)
	c := LatencyChart("latency", Latency{"a", h}, Latency{"b", empty})
	a := c.Series[0]
	if a.X[0] != 2 || math.Abs(a.Y[0]-1.5) > 0.01 {
		t.Errorf("begins at %v, %v; want the median", a.X[0], a.Y[0])
	}
	if last := len(a.X) - 1; a.X[last] != 1000 || math.Abs(a.Y[last]-2) > 0.01 {
		t.Errorf("ends at %v, %v; want the slowest of 1000", a.X[last], a.Y[last])
	}
	if !slices.IsSorted(a.X) || !slices.IsSorted(a.Y) || len(c.Series[1].X) != 0 {
		t.Errorf("series %v", c.Series)
	}
	if last := c.XTicks[len(c.XTicks)-1]; last != (Tick{1000, "99.9%"}) {
		t.Errorf("the last tick is %v", last)
	}
	if c.nameX(2) != "50.0%" || c.nameX(1000) != "99.9000%" {
		t.Errorf("%s, %s", c.nameX(2), c.nameX(1000))
	}
}

func TestThinKeepsExtremes(t *testing.T) {
	s := Series{Name: "s"}
	for i := range 12_345 {
		s.X, s.Y = append(s.X, float64(i)), append(s.Y, float64(i%7))
	}
	s.Y[5000], s.Y[9000] = 100, -100
	got := s.thin(500)
	if len(got.X) > 520 || len(got.X) < 400 || !slices.IsSorted(got.X) || !slices.Contains(got.Y, 100) || !slices.Contains(got.Y, -100) {
		t.Errorf("%d points, %v to %v", len(got.X), slices.Min(got.Y), slices.Max(got.Y))
	}
	if short := s.thin(len(s.X)); len(short.X) != len(s.X) {
		t.Errorf("a short line lost points")
	}
}

func TestLineIsBroken(t *testing.T) {
	c := Chart{LogY: true, Series: []Series{{"s", []float64{1, 2, 3, 4, 5}, []float64{1, 10, 0, 10, math.NaN()}}}}
	v := c.view(0)
	if len(v.Drawings) != len(sizes) {
		t.Fatalf("drawings = %v", v.Drawings)
	}
	l := v.Drawings[0].Lines[0]
	if strings.Count(l.Path, "M") != 2 || strings.Count(l.Path, "L") != 1 || len(l.Dots) != 3 || !l.Few {
		t.Errorf("line = %+v", l)
	}
}

func TestSpread(t *testing.T) {
	marks := spread([]mark{{0, "0"}, {10, "10"}, {20, "20"}, {60, "60"}})
	var kept []string
	for _, m := range marks {
		kept = append(kept, m.Label)
	}
	if !slices.Equal(kept, []string{"0", "", "20", "60"}) {
		t.Errorf("kept %q", kept)
	}
}
