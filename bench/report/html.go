package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"grouped": func(v float64) string { return grouped(number(v)) },
	"unit":    unit,
	"shell":   shell,
	"cell":    cell,
	"parts":   func(name string) []string { return strings.SplitAfter(name, "_") },
	"color":   func(series int) int { return series % 8 },
	"when":    func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	"span":    func(d time.Duration) string { return d.Round(time.Second / 10).String() },
}).Parse(pageHTML))

// headlines is how many figures are shown large when the report names none.
const headlines = 6

// view is what the template shows.
type view struct {
	*Report
	Style  template.CSS
	Large  []Figure
	Tables []tableView
	Charts []chartView
}

// tableView is a table that knows which of its columns hold numbers.
type tableView struct {
	Table
	Numeric []bool
}

// WriteHTML writes one page that needs nothing from elsewhere: no script, no
// font, no request.
func (r *Report) WriteHTML(w io.Writer) error {
	v := view{Report: r, Style: template.CSS(pageCSS), Large: r.large()} //nolint:gosec // our own file
	for _, t := range r.Tables {
		v.Tables = append(v.Tables, tableView{t, t.numeric()})
	}
	for i, c := range r.Charts {
		v.Charts = append(v.Charts, c.view(i))
	}
	var buf bytes.Buffer
	if err := page.Execute(&buf, v); err != nil {
		return fmt.Errorf("write the report of %s: %w", r.Scenario, err)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("write the report of %s: %w", r.Scenario, err)
	}
	return nil
}

// large returns the figures to begin with.
func (r *Report) large() []Figure {
	if len(r.Headline) == 0 {
		return r.Figures[:min(headlines, len(r.Figures))]
	}
	var out []Figure
	for _, name := range r.Headline {
		i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == name })
		if i >= 0 {
			out = append(out, r.Figures[i])
		}
	}
	return out
}

// numeric tells for each column whether all that stands in it are numbers.
func (t Table) numeric() []bool {
	out := make([]bool, len(t.Columns))
	for i := range out {
		out[i] = !slices.ContainsFunc(t.Rows, func(row []string) bool {
			text := strings.TrimLeft(cell(row, i), "+-−–~<>≤≥ ")
			return text != "" && !unicode.IsDigit(rune(text[0]))
		})
	}
	return out
}

// unit guesses from a figure's name what its value counts.
func unit(name string) string {
	parts := strings.Split(name, "_")
	for i, p := range parts {
		switch p {
		case "us":
			return "µs"
		case "ms", "cores":
			return p
		case "kib":
			return "KiB"
		case "mib":
			return "MiB"
		case "per":
			if i == len(parts)-2 && parts[i+1] == "s" {
				return "/s"
			}
		}
	}
	return ""
}

// grouped sets commas between thousands.
func grouped(number string) string {
	whole, fraction, _ := strings.Cut(number, ".")
	sign := strings.HasPrefix(whole, "-")
	digits := strings.TrimPrefix(whole, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if sign {
		digits = "-" + digits
	}
	if fraction != "" {
		digits += "." + fraction
	}
	return digits
}

// shell writes a command as a shell reads it.
func shell(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = arg
		if arg == "" || strings.ContainsFunc(arg, special) {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// special reports whether a shell might read more into c than the letter.
func special(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_./:=,+@%", c)
}
