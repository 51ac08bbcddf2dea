package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// figure is one measured value, by its name in JSON.
type figure struct {
	name  string
	value float64
	about string // for the table
}

// figures are the result of a scenario, in the order that a reader wants.
type figures []figure

// add appends a value; what is not a number was not measured and is left out.
func (f *figures) add(name string, value float64, about string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	*f = append(*f, figure{name, value, about})
}

// get returns a value by name, NaN when there is none.
func (f figures) get(name string) float64 {
	for _, x := range f {
		if x.name == name {
			return x.value
		}
	}
	return math.NaN()
}

// writeJSON prints one flat object.
func (f figures) writeJSON(w io.Writer) error {
	flat := make(map[string]float64, len(f))
	for _, x := range f {
		flat[x.name] = math.Round(x.value*1000) / 1000
	}
	if err := json.NewEncoder(w).Encode(flat); err != nil {
		return fmt.Errorf("print figures: %w", err)
	}
	return nil
}

func (f figures) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, x := range f {
		fmt.Fprintf(t, "%s\t%s\t %s\n", x.name, number(x.value), x.about)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print figures: %w", err)
	}
	return nil
}

// number prints counts whole and measures with what digits they deserve.
func number(v float64) string {
	switch {
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
