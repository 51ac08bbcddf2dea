// Package report holds what a measurement found, and shows it: as one flat
// JSON object, as tables in a terminal, or as a page of HTML with charts.
package report

import "time"

// Report is the result of one scenario. The zero value is an empty one; what is
// empty is not shown.
type Report struct {
	Scenario string
	Command  []string // what was run, so that others can repeat it
	Started  time.Time
	Took     time.Duration

	Machine []Fact // see Machine
	Setup   []Fact // versions and configuration of what was measured

	Figures  []Figure // in the order that a reader wants
	Headline []string // names of the figures to show first and large; empty means the first six
	Tables   []Table
	Charts   []Chart
	Notes    []string // what a reader has to know to judge the figures
}

// Fact is something that is so, rather than measured.
type Fact struct{ Name, Value string }

// Table sets figures side by side: peers, or one thing as another grows.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]string // a short row ends in empty cells
}

// Chart is lines over one pair of axes; the labels carry the units. On a linear
// Y axis zero is always in sight, on a logarithmic axis what is not above zero
// leaves a gap, as NaN does on any.
type Chart struct {
	Title, XLabel, YLabel string
	LogX, LogY            bool
	XTicks                []Tick // places on the X axis with names of their own; empty means round numbers
	Series                []Series

	nameX func(x float64) string // in words, for who points at a point; nil means as a number
}

// Tick names a place on an axis.
type Tick struct {
	At    float64
	Label string
}

// Series is one line of a chart: X and Y are as long as each other, X ascends.
// Of a long one, the ups and downs are drawn, not every point.
type Series struct {
	Name string
	X, Y []float64
}
