package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// Figure is one measured value, by its name in JSON, such as p99_ms: a
// quantity that has a unit carries it in its name.
type Figure struct {
	Name  string
	Value float64
	About string // what it is, for people
}

// Add appends a figure; what is not a number was not measured and is left out.
func (r *Report) Add(name string, value float64, about string) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	r.Figures = append(r.Figures, Figure{name, value, about})
}

// Get returns the first figure of that name, NaN when there is none.
func (r *Report) Get(name string) float64 {
	for _, f := range r.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	return math.NaN()
}

// WriteJSON prints the figures as one flat object, rounded to three digits.
func (r *Report) WriteJSON(w io.Writer) error {
	flat := make(map[string]float64, len(r.Figures))
	for _, f := range r.Figures {
		flat[f.Name] = math.Round(f.Value*1000) / 1000
	}
	if err := json.NewEncoder(w).Encode(flat); err != nil {
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
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
