package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// batch sends body and returns the lines of the answer, each checked against
// the description.
func (w *world) batch(body string) []string {
	w.t.Helper()
	r := w.request(http.MethodPost, "/notify/batch", body)
	r.Header.Set("Content-Type", "application/x-ndjson")
	out := w.do(r)
	wantOK(w.t, out)
	var lines []string
	for l := range strings.Lines(string(out.body)) {
		var v any
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			w.t.Fatalf("line %q: %v", l, err)
		}
		if len(lines) < 20 { // a check compiles the schema anew: a millisecond
			w.spec.component(w.t, "BatchLine", v)
		}
		lines = append(lines, strings.TrimSuffix(l, "\n"))
	}
	return lines
}

type batchLine struct {
	Line    int
	ID      string
	Targets int
	Status  int
	Code    Code
	Field   string
}

func parseLine(t *testing.T, l string) batchLine {
	t.Helper()
	var b batchLine
	if err := json.Unmarshal([]byte(l), &b); err != nil {
		t.Fatalf("%q: %v", l, err)
	}
	return b
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	lines := w.batch(strings.Join([]string{
		`{"users":["ann"],"data":1,"id":"l-1"}`,
		``,
		`{"users":["ann"],"data":2,"stock":"1h"}`,
		`not json`,
		`{"users":["ann","bob"],"data":3,"id":"l-5"}` + "\r",
		`{"users":["ann"],"data":4,"id":"l-6"}`, // without a newline
	}, "\n"))
	want := []batchLine{
		{Line: 1, ID: "l-1", Targets: 1},
		{Line: 3, Status: 400, Code: CodeUnknownField, Field: "stock"},
		{Line: 4, Status: 400, Code: CodeMalformedJSON},
		{Line: 5, ID: "l-5", Targets: 2},
		{Line: 6, ID: "l-6", Targets: 1},
	}
	if len(lines) != len(want) {
		t.Fatalf("got %d lines: %s", len(lines), lines)
	}
	for i, l := range lines {
		if got := parseLine(t, l); got != want[i] {
			t.Errorf("line %d: got %+v, want %+v", i, got, want[i])
		}
	}
	if sent := w.hub.notifications(); len(sent) != 3 || sent[0].ID != "l-1" || sent[1].ID != "l-5" || sent[2].ID != "l-6" {
		t.Errorf("sent %+v", sent)
	}
}

func TestBatchOfNothing(t *testing.T) {
	w := newWorld(t)
	if lines := w.batch("\n"); len(lines) != 0 {
		t.Errorf("got %s", lines)
	}
}

func TestBatchSurvivesALongLine(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) { c.BodyLimit = 100_000 }))
	long := `{"users":["ann"],"data":"` + strings.Repeat("x", 200_000) + `"}`
	fits := `{"users":["ann"],"data":"x"}` + strings.Repeat(" ", 100_000-28)
	lines := w.batch(someone + "\n" + long + "\n" + fits + "\n" + long)
	if len(lines) != 4 {
		t.Fatalf("got %d lines", len(lines))
	}
	for i, code := range []Code{"", CodeBodyTooLarge, "", CodeBodyTooLarge} {
		if got := parseLine(t, lines[i]); got.Line != i+1 || got.Code != code {
			t.Errorf("got %+v, want line %d with %q", got, i+1, code)
		}
	}
}

// TestBatchStreams writes a line only after the answer to the one before it
// was read, beginning with the header.
func TestBatchStreams(t *testing.T) {
	w := newWorld(t)
	pr, pw := io.Pipe()
	r := w.request(http.MethodPost, "/notify/batch", "x")
	r.Body, r.ContentLength, r.GetBody = pr, -1, nil
	r.Header.Set("Content-Type", "application/x-ndjson")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answers := bufio.NewReader(res.Body)
	for i := 1; i <= 50; i++ {
		// The beginning of the next line must not hold the answer back.
		fmt.Fprintf(pw, `sers":["ann"],"data":%d,"id":"s-%d"}`+"\n"+`{"u`, i, i)
		l, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			continue // it lacks the beginning that the others have
		}
		if got := parseLine(t, l); got.Line != i || got.ID != fmt.Sprintf("s-%d", i) {
			t.Fatalf("got %+v for line %d", got, i)
		}
	}
	pw.Close()
	rest, err := io.ReadAll(answers)
	if err != nil || parseLine(t, string(rest)).Code != CodeMalformedJSON {
		t.Errorf("the half line: %s, %v", rest, err)
	}
}

func TestLargeBatch(t *testing.T) {
	w := newWorld(t)
	var body strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&body, `{"users":["ann"],"data":%d}`+"\n", i)
	}
	lines := strings.Count(strings.Join(w.batch(body.String()), "\n"), `"targets":1`)
	if lines != 20_000 || len(w.hub.notifications()) != 20_000 {
		t.Errorf("%d answers, %d sent", lines, len(w.hub.notifications()))
	}
}

func TestBatchFailuresStayInTheirLine(t *testing.T) {
	w := newWorld(t)
	w.hub.err = fmt.Errorf("send: %w", hub.ErrUnavailable)
	lines := w.batch(someone + "\n" + someone + "\n")
	if len(lines) != 2 || parseLine(t, lines[1]).Code != CodeUnavailable {
		t.Errorf("got %s", lines)
	}
}

// TestBatchIsPaced: where single requests over the rate are refused, a batch
// is slowed down.
func TestBatchIsPaced(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 100, 1 }))
	started := time.Now()
	lines := w.batch(strings.Repeat(someone+"\n", 11))
	if took := time.Since(started); took < 90*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if len(lines) != 11 || parseLine(t, lines[10]).Targets != 1 {
		t.Errorf("got %s", lines)
	}
}

func TestBatchThatStandsStillIsEnded(t *testing.T) {
	w := newWorld(t, withConfig(func(c *Config) { c.BatchIdle = 100 * time.Millisecond }))
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /notify/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", w.key)
	fmt.Fprintf(c, "%x\r\n%s\n\r\n", len(someone)+1, someone)
	ended := make(chan struct{})
	writing := make(chan struct{})
	go func() { // empty lines are no progress
		defer close(writing)
		for err := error(nil); err == nil; time.Sleep(10 * time.Millisecond) {
			select {
			case <-ended:
				return
			default:
				_, err = io.WriteString(c, "1\r\n\n\r\n")
			}
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answers := bufio.NewReader(res.Body)
	for i, want := range []Code{"", CodeBatchIdle} {
		l, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if got := parseLine(t, l); got.Code != want {
			t.Errorf("line %d: got %+v, want %q", i, got, want)
		}
	}
	close(ended)
	<-writing
	w.untilAtRest()
	w.until("the connection is closed", func() bool { all, _ := w.server.conns.Open(); return all == 0 })
}

// TestBatchOutlastsItsIdleTime: a batch that is sent at once and served
// slowly does not stand still. Its last line, without an end, is read when
// net/http already waits for the caller to go.
func TestBatchOutlastsItsIdleTime(t *testing.T) {
	w := newWorld(t,
		withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 4, 1 }),
		withConfig(func(c *Config) { c.BatchIdle = 100 * time.Millisecond }))
	if lines := w.batch(someone + "\n" + someone + "\n" + someone); len(lines) != 3 || parseLine(t, lines[2]).Targets != 1 {
		t.Errorf("got %s", lines)
	}
}

func TestBatchNeedsNDJSON(t *testing.T) {
	w := newWorld(t)
	wantCode(t, w.post("/notify/batch", someone), CodeUnsupportedMediaType)
}
