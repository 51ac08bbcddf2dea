package report

import (
	"math"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is one line of a LatencyChart.
type Latency struct {
	Name   string
	Micros *hdrhistogram.Histogram // of microseconds
}

// LatencyChart shows by percentile how long things took, in ms, for the slower
// half of them. Each nine has as much room as the one before it, and a line ends
// where its samples do: the last point is the slowest.
func LatencyChart(title string, of ...Latency) Chart {
	c := Chart{Title: title, XLabel: "percentile", YLabel: "ms", LogX: true, LogY: true, nameX: percentile}
	var most int64
	for _, l := range of {
		most = max(most, l.Micros.TotalCount())
		c.Series = append(c.Series, percentiles(l))
	}
	c.XTicks = []Tick{{2, "50%"}, {10, "90%"}, {100, "99%"}}
	for x, label := 1000.0, "99.9"; x <= float64(most); x, label = x*10, label+"9" {
		c.XTicks = append(c.XTicks, Tick{x, label + "%"})
	}
	return c
}

// percentiles is a line over x = 1/(1-q), where q is the share of the samples
// that were no slower.
func percentiles(l Latency) Series {
	const pointsPerHalving = 6
	samples := float64(l.Micros.TotalCount())
	if samples < 2 {
		return Series{Name: l.Name}
	}
	s := Series{l.Name, []float64{2}, []float64{float64(l.Micros.ValueAtPercentile(50)) / 1000}}
	for _, b := range l.Micros.CumulativeDistributionWithTicks(pointsPerHalving) {
		x := samples
		if b.Quantile < 100 {
			x = min(samples, 100/(100-b.Quantile))
		}
		if x <= 2 {
			continue
		}
		s.X = append(s.X, x)
		s.Y = append(s.Y, float64(b.ValueAt)/1000)
	}
	return s
}

// percentile names a place on the X axis of a LatencyChart, with a digit more
// than it has nines.
func percentile(x float64) string {
	return strconv.FormatFloat(100-100/x, 'f', int(math.Log10(x))+1, 64) + "%"
}
