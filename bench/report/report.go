// Package report holds what a measurement found, and shows it: as one flat
// JSON object, as a table in a terminal, or as a page of HTML with charts.
package report

import "time"

// Report is the result of one scenario.
type Report struct {
	Scenario string
	Command  []string // what was run, so that others can repeat it
	Started  time.Time
	Took     time.Duration

	Machine []Fact // see Machine
	Setup   []Fact // versions and configuration of what was measured

	Figures []Figure // in the order that a reader wants
	Tables  []Table
	Charts  []Chart
	Notes   []string // what a reader has to know to judge the figures
}

// Fact is something that is so, rather than measured.
type Fact struct{ Name, Value string }

// Table sets figures side by side: peers, or one thing as another grows.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]string // a short row ends in empty cells
}

// Chart is lines over one pair of axes. On a logarithmic axis, points that are
// not above zero are left out.
type Chart struct {
	Title, XLabel, YLabel string
	LogX, LogY            bool
	Series                []Series
}

// Series is one line of a chart: X and Y are as long as each other, X ascends.
type Series struct {
	Name string
	X, Y []float64
}
