package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// WriteTable prints for a terminal: the figures, then tables and notes.
func (r *Report) WriteTable(w io.Writer) error {
	var buf bytes.Buffer
	t := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t %s\n", f.Name, number(f.Value), f.About)
	}
	t.Flush()
	for _, t := range r.Tables {
		t.write(&buf)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&buf, "\n%s\n", note)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("print figures: %w", err)
	}
	return nil
}

// write prints the table with its first column to the left and the others to
// the right.
func (t Table) write(w *bytes.Buffer) {
	fmt.Fprintf(w, "\n%s\n", t.Title)
	rows := append([][]string{t.Columns}, t.Rows...)
	widths := make([]int, len(t.Columns))
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell(row, i)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, width := range widths {
			text := cell(row, i)
			gap := strings.Repeat(" ", width-utf8.RuneCountInString(text))
			if i == 0 {
				line.WriteString("  " + text + gap)
			} else {
				line.WriteString("  " + gap + text)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// cell returns the i-th text of a row, "" when the row is shorter.
func cell(row []string, i int) string {
	if i < len(row) {
		return row[i]
	}
	return ""
}
