package report

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	var r Report
	r.Add("a", 1234.5678, "of the first")
	r.Add("b", 0, "of the second")
	r.Add("c", math.NaN(), "not measured")
	r.Add("d", math.Inf(1), "not measured")
	var buf bytes.Buffer
	if err := r.WriteJSON(&buf); err != nil || strings.TrimSpace(buf.String()) != `{"a":1234.568,"b":0}` {
		t.Errorf("%s, %v", buf.String(), err)
	}
	buf.Reset()
	if err := r.WriteTable(&buf); err != nil || !strings.Contains(buf.String(), "1235 of the first") {
		t.Errorf("%s, %v", buf.String(), err)
	}
	if r.Get("a") != 1234.5678 || !math.IsNaN(r.Get("c")) {
		t.Error("Get")
	}
	for v, text := range map[float64]string{3: "3", 12.34: "12.3", 1.234: "1.23", 0.1234: "0.123", 250.5: "250"} {
		if number(v) != text {
			t.Errorf("number(%v) = %s, want %s", v, number(v), text)
		}
	}
}

func TestTableInTerminal(t *testing.T) {
	r := Report{
		Tables: []Table{{"Peers", []string{"", "Homing", "µs"}, [][]string{{"cpu", "1", "µ"}, {"memory", "22"}}}},
		Notes:  []string{"One machine."},
	}
	r.Add("conns", 5, "held")
	var buf bytes.Buffer
	if err := r.WriteTable(&buf); err != nil {
		t.Fatal(err)
	}
	const want = `  conns  5 held

Peers
          Homing  µs
  cpu          1   µ
  memory      22

One machine.
`
	if buf.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", buf.String(), want)
	}
}

func TestMachine(t *testing.T) {
	facts := make(map[string]string)
	for _, f := range Machine() {
		if f.Value == "" {
			t.Errorf("%s is empty", f.Name)
		}
		facts[f.Name] = f.Value
	}
	if facts["cores"] == "" || !strings.HasPrefix(facts["Go"], "go1") || !strings.HasSuffix(facts["memory"], "GiB") || facts["net.core.somaxconn"] == "" {
		t.Errorf("facts = %v", facts)
	}
}
