package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/aclements/go-moremath/scale"
)

// extent is a range of values.
type extent struct{ low, high float64 }

func (e *extent) add(v float64) { e.low, e.high = min(e.low, v), max(e.high, v) }

func (e extent) empty() bool { return e.low > e.high }

// fit widens the range to what a reader expects of a Y axis, with so many labels
// at most: round ends, and zero.
func (e extent) fit(log bool, labels int) extent {
	if log {
		return extent{outward(e.low, false), outward(e.high, true)}
	}
	e.add(0)
	s := &scale.Linear{Min: e.low, Max: e.high}
	s.Nice(options(labels))
	return extent{s.Min, s.Max}
}

func options(labels int) scale.TickOptions { return scale.TickOptions{Max: max(labels, 2)} }

// outward returns the next 1, 2 or 5 times a power of ten.
func outward(v float64, up bool) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	steps := []float64{1, 2, 5, 10}
	const slack = 1e-9
	if up {
		i := slices.IndexFunc(steps, func(s float64) bool { return s*decade >= v*(1-slack) })
		return steps[max(i, 0)] * decade
	}
	slices.Reverse(steps)
	i := slices.IndexFunc(steps, func(s float64) bool { return s*decade <= v*(1+slack) })
	return steps[max(i, 0)] * decade
}

// axis maps values to 0..1, and knows where its grid is.
type axis struct {
	scale scale.Quantitative
	ticks []Tick // ascending; minor ones have no label
}

// newAxis makes an axis; a linear one has at most so many labels.
func newAxis(e extent, log bool, labels int) axis {
	if log {
		return logAxis(e)
	}
	if e.low == e.high {
		e = extent{e.low - 1, e.high + 1}
	}
	s := &scale.Linear{Min: e.low, Max: e.high}
	major, _ := s.Ticks(options(labels))
	a := axis{scale: s}
	for _, v := range major {
		a.ticks = append(a.ticks, Tick{v, compact(v)})
	}
	return a
}

// logAxis labels the powers of ten, and 2 and 5 times them where those are few.
func logAxis(e extent) axis {
	if e.low == e.high {
		e = extent{e.low / 2, e.high * 2}
	}
	s := &scale.Log{Min: e.low, Max: e.high, Base: 10}
	few, labels, a := s.CountTicks(0) < 3, 0, axis{scale: s}
	for _, v := range s.TicksAtLevel(-1).([]float64) {
		t := Tick{At: v}
		if d := firstDigit(v); d == 1 || few && (d == 2 || d == 5) {
			t.Label = compact(v)
			labels++
		}
		a.ticks = append(a.ticks, t)
	}
	if labels < 2 { // the range is between two labels
		return logAxis(e.fit(true, 0))
	}
	return a
}

func firstDigit(v float64) int {
	const slack = 1e-9
	return int(v/math.Pow(10, math.Floor(math.Log10(v)+slack)) + slack)
}

// name puts names of its own on the axis, instead of numbers.
func (a *axis) name(ticks []Tick) {
	a.ticks = slices.DeleteFunc(slices.Clone(ticks), func(t Tick) bool {
		at := a.scale.Map(t.At)
		return !(at >= 0 && at <= 1)
	})
	slices.SortFunc(a.ticks, func(x, y Tick) int { return cmp.Compare(x.At, y.At) })
}

// longest is the length of the longest label.
func (a *axis) longest() int {
	n := 0
	for _, t := range a.ticks {
		n = max(n, utf8.RuneCountInString(t.Label))
	}
	return n
}

// compact writes a number so that it fits beside an axis.
func compact(v float64) string {
	digits := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	switch a := math.Abs(v); {
	case a >= 1e9:
		return digits(v/1e9) + "G"
	case a >= 1e6:
		return digits(v/1e6) + "M"
	case a >= 1e4:
		return digits(v/1e3) + "k"
	case a < 1e-12: // what adding up steps leaves of zero
		return "0"
	default:
		return digits(v)
	}
}
