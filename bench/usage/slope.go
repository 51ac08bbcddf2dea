package usage

import (
	"math"
	"slices"
	"time"
)

// slopePoints is how many points Slope compares with each other, at most.
const slopePoints = 500

// Slope returns by how much v grows in an hour: the median of the slopes
// between any two points (Theil and Sen), which a few outliers do not move. t
// ascends, and is as long as v. Of more than 500 points, neighbors are averaged
// first. NaN when there are no two instants.
func Slope(t []time.Duration, v []float64) (perHour float64) {
	hours, values := thin(t, v)
	var slopes []float64
	for i := range hours {
		for j := range i {
			if dt := hours[i] - hours[j]; dt > 0 {
				slopes = append(slopes, (values[i]-values[j])/dt)
			}
		}
	}
	if len(slopes) == 0 {
		return math.NaN()
	}
	slices.Sort(slopes)
	mid := len(slopes) / 2
	if len(slopes)%2 == 1 {
		return slopes[mid]
	}
	return (slopes[mid-1] + slopes[mid]) / 2
}

// thin averages runs of points, so that at most slopePoints remain.
func thin(t []time.Duration, v []float64) (hours, values []float64) {
	run := (len(t) + slopePoints - 1) / slopePoints
	for i := 0; i < len(t); i += run {
		n := min(run, len(t)-i)
		var hour, value float64
		for k := i; k < i+n; k++ {
			hour += t[k].Hours() / float64(n)
			value += v[k] / float64(n)
		}
		hours, values = append(hours, hour), append(values, value)
	}
	return hours, values
}
