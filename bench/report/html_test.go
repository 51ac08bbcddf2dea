package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// element is one element of a page, with the text directly in it.
type element struct {
	name string
	attr map[string]string
	text string
}

// parse reads a page, whose elements must be closed as in XML.
func parse(t *testing.T, raw []byte) []*element {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(raw))
	var all, open []*element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attr: make(map[string]string)}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			all, open = append(all, e), append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(token)
			}
		}
	}
}

// texts returns what the elements of that name say.
func texts(all []*element, name string) []string {
	var out []string
	for _, e := range all {
		if e.name == name {
			out = append(out, e.text)
		}
	}
	return out
}

const hostile = `</style><script>alert("1")</script>'&{{.}}`

// sample is a report in which every name is hostile.
func sample() *Report {
	h := hdrhistogram.New(1, 1_000_000, 3)
	for i := range int64(20_000) {
		_ = h.RecordValue(500 + i)
	}
	line := Series{hostile, []float64{1, 2, 3}, []float64{4, math.NaN(), 6}}
	r := &Report{
		Scenario: hostile, Command: []string{"homing", "bench", hostile}, Started: time.Now(), Took: time.Minute,
		Machine: Machine(), Setup: []Fact{{hostile, hostile}}, Notes: []string{hostile},
		Tables: []Table{{hostile, []string{hostile, "n"}, [][]string{{hostile, "1,000"}, {"short"}}}},
		Charts: []Chart{
			LatencyChart(hostile, Latency{hostile, h}),
			{Title: hostile, XLabel: hostile, YLabel: hostile, XTicks: []Tick{{1, hostile}}, Series: []Series{line}},
			{Title: "empty", LogY: true, Series: []Series{{"none", []float64{1}, []float64{0}}}},
		},
	}
	r.Add("conns", 200_000, hostile)
	r.Add("p99_ms", 6.42, "ms")
	r.Add(hostile, 1, "")
	return r
}

func render(t *testing.T, r *Report) ([]*element, string) {
	t.Helper()
	var buf bytes.Buffer
	if err := r.WriteHTML(&buf); err != nil {
		t.Fatal(err)
	}
	return parse(t, buf.Bytes()), buf.String()
}

func TestPageShowsEverything(t *testing.T) {
	all, _ := render(t, sample())
	for name, want := range map[string][]string{
		"code":       {"conns", "p99_ms", hostile},
		"td":         {"200,000", "6.42", "1", "1,000", ""},
		"h1":         {hostile},
		"h2":         {hostile, "To repeat it", "The machine"},
		"dt":         {"cores", "kernel", "Go", "open files per process", "net.core.somaxconn", hostile},
		"figcaption": {hostile, "empty"},
		"text":       {"50%", "99%", "99.99%", "percentile", "ms", "10", hostile},
		"li":         {hostile},
		"p":          {"Nothing was measured."},
	} {
		for _, w := range want {
			if !slices.Contains(texts(all, name), w) {
				t.Errorf("no <%s> says %q, only %q", name, w, texts(all, name))
			}
		}
	}
}

func TestPageNeedsNothingElse(t *testing.T) {
	all, raw := render(t, sample())
	for _, e := range all {
		if slices.Contains([]string{"script", "img", "iframe", "object", "base", "form", "use", "a"}, e.name) {
			t.Errorf("there is <%s>", e.name)
		}
		for name, value := range e.attr {
			leads := name == "href" && value != "data:," || name == "src" || name == "style"
			if leads || strings.HasPrefix(name, "on") {
				t.Errorf("<%s %s=%q>", e.name, name, value)
			}
		}
	}
	for _, bad := range []string{"url(", "@import", "http:", "https:", "//"} {
		if strings.Contains(raw, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
}

// TestChartsAreTold checks what a screen reader finds.
func TestChartsAreTold(t *testing.T) {
	all, raw := render(t, sample())
	ids := make(map[string]string)
	for _, e := range all {
		if id := e.attr["id"]; id != "" {
			if _, twice := ids[id]; twice {
				t.Errorf("id %q is there twice", id)
			}
			ids[id] = e.text
		}
	}
	pictures := 0
	for _, e := range all {
		if e.attr["role"] != "img" {
			continue
		}
		pictures++
		for id := range strings.FieldsSeq(e.attr["aria-labelledby"]) {
			if ids[id] == "" {
				t.Errorf("nothing is said by %q", id)
			}
		}
	}
	if pictures != 4 { // two charts, for two widths
		t.Errorf("%d pictures", pictures)
	}
	if about := hostile + " over " + hostile + ". " + hostile + ": 4 to 6."; ids["chart2-wide-about"] != about {
		t.Errorf("chart 2 is told as %q, want %q", ids["chart2-wide-about"], about)
	}
	for _, e := range all {
		if d, ok := e.attr["d"]; ok && strings.ContainsAny(d, "NIe") {
			t.Errorf("path %q has no place", d)
		}
	}
	if strings.Contains(raw, "NaN") || strings.Contains(raw, "Inf") {
		t.Error("something is not a number")
	}
}

func TestHeadline(t *testing.T) {
	r := sample()
	r.Headline = []string{"p99_ms", "missing"}
	if got := r.large(); len(got) != 1 || got[0].Name != "p99_ms" {
		t.Errorf("large = %v", got)
	}
	for range 10 {
		r.Add("more", 1, "")
	}
	if r.Headline = nil; len(r.large()) != headlines {
		t.Errorf("large = %v", r.large())
	}
	if all, _ := render(t, new(Report)); len(texts(all, "section")) != 0 {
		t.Error("an empty report shows something")
	}
}

func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"p99_ms": "ms", "front_us_per_delivery": "µs", "kib_per_conn": "KiB", "connects_per_s": "/s",
		"idle_cores": "cores", "rss_mib": "MiB", "conns": "", "commands_per_delivery": "",
	} {
		if unit(name) != want {
			t.Errorf("unit(%s) = %q, want %q", name, unit(name), want)
		}
	}
	for in, want := range map[string]string{"1": "1", "999": "999", "1000": "1,000", "-1234567.25": "-1,234,567.25"} {
		if grouped(in) != want {
			t.Errorf("grouped(%s) = %s", in, grouped(in))
		}
	}
	if got := shell([]string{"a", "--b=1", "", "it's", "$x"}); got != `a --b=1 '' 'it'\''s' '$x'` {
		t.Errorf("shell = %s", got)
	}
	numbers := Table{Columns: []string{"a", "b", "c"}, Rows: [][]string{{"1", "~2 k", "x"}, {"−3"}}}.numeric()
	if !slices.Equal(numbers, []bool{true, true, false}) {
		t.Errorf("numeric = %v", numbers)
	}
}
