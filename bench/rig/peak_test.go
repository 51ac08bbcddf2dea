package rig

import (
	"errors"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// tried is a load at a rate, sustained up to a capacity.
func tried(rate, capacity float64) Load {
	l := Load{Rate: rate, Each: 10, Lag: hdrhistogram.New(1, 1000, 2)}
	if rate > capacity {
		l.Behind = time.Second
	}
	return l
}

func TestPeakIsFoundFromBelowAndFromAbove(t *testing.T) {
	const capacity = 500
	for from, most := range map[float64]float64{100: 0, 450: 0, 4000: 0, 499: 10_000} {
		var steps int
		p, err := search(from, most, func(rate float64) (Load, error) {
			steps++
			return tried(rate, capacity), nil
		})
		if err != nil || p.Best.Rate > capacity || p.Best.Rate < 0.95*capacity || p.Over.Rate <= capacity {
			t.Errorf("from %v: peak %v, too much %v, error %v", from, p.Best.Rate, p.Over.Rate, err)
		}
		if steps > 15 {
			t.Errorf("from %v: %d steps", from, steps)
		}
	}
}

func TestPeakStaysBelowItsLimit(t *testing.T) {
	p, err := search(100, 250, func(rate float64) (Load, error) {
		if rate > 250 {
			t.Errorf("tried %v", rate)
		}
		return tried(rate, 1000), nil
	})
	if err != nil || p.Best.Rate < 200 || p.Over.Rate != 0 {
		t.Errorf("peak %v, too much %v, error %v", p.Best.Rate, p.Over.Rate, err)
	}
}

func TestNoRateIsSustained(t *testing.T) {
	_, err := search(100, 0, func(rate float64) (Load, error) { return tried(rate, 0), nil })
	if !errors.Is(err, errNotSustained) {
		t.Errorf("error = %v, want %v", err, errNotSustained)
	}
}

func TestSustained(t *testing.T) {
	late := hdrhistogram.New(1, 10_000_000, 3)
	for range 95 {
		_ = late.RecordValue(1000)
	}
	for range 5 {
		_ = late.RecordValue(2_000_000)
	}
	quick := hdrhistogram.New(1, 1000, 2)
	for name, c := range map[string]struct {
		load Load
		want bool
	}{
		"quick":   {Load{Lag: quick}, true},
		"refused": {Load{Lag: quick, Refused: 1}, false},
		"behind":  {Load{Lag: quick, Behind: 300 * time.Millisecond}, false},
		"late":    {Load{Lag: late}, false},
	} {
		if got := c.load.Sustained(); got != c.want {
			t.Errorf("%s: sustained %v, want %v", name, got, c.want)
		}
	}
}
