package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/scale"
)

// Step is one look at a fleet, with what came of it. As a line of a record it is a
// fleet.Snapshot too, which homing fleet simulate reads.
type Step struct {
	At    time.Time    `json:"at"`
	Nodes []fleet.Node `json:"nodes"`
	Term  int64        `json:"term"`
	// Before is what the rules remembered, by cluster and region. It is there when that
	// was not left by the step before.
	Before    map[string]scale.State `json:"before,omitempty"`
	Fresh     bool                   `json:"fresh,omitempty"` // Before is there
	Decisions []scale.Decision       `json:"decisions,omitempty"`
}

// Recorder writes steps, one JSON object a line, up to a number of bytes. It is for one
// goroutine.
type Recorder struct {
	out  io.Writer
	left int64
	full func(written int64)
	all  int64
}

// NewRecorder returns a recorder of at most that many bytes. full is called once,
// when no more is written because there is no room, or because writing failed.
//
//bound:fleet-record
func NewRecorder(out io.Writer, most int64, full func(written int64)) *Recorder {
	return &Recorder{out: out, left: most, full: full}
}

// Add writes s, unless the record is full, or could not be written.
func (r *Recorder) Add(s *Step) {
	if r.left < 0 {
		return
	}
	line, err := json.Marshal(s)
	if err == nil {
		line = append(line, '\n')
		if r.left -= int64(len(line)); r.left >= 0 {
			_, err = r.out.Write(line)
			r.all += int64(len(line))
		}
	}
	if err != nil || r.left < 0 {
		r.left = -1
		r.full(r.all)
	}
}

// Difference is a step of which a replay has made something else.
type Difference struct {
	Line      int
	At        time.Time
	Live, Now []scale.Decision
}

// Replayed is what a replay has gone through.
type Replayed struct {
	Steps, Decisions int
	Differences      []Difference
}

// maxLine bounds a line of a record: some 10,000 nodes.
const maxLine = 64 << 20

// Replay has rules decide of a record anew, from what they remembered at its beginning.
// The errors are the reader's, and of lines that are no steps.
func Replay(in io.Reader, rules []*scale.Rules) (Replayed, error) {
	var result Replayed
	var states map[string]scale.State
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var s Step
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return result, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case s.Fresh:
			states = s.Before
		case states == nil:
			return result, fmt.Errorf("line %d: the record does not begin with what the rules remembered: homing fleet run --record writes one that does", n)
		}
		snap := &fleet.Snapshot{At: s.At, Nodes: s.Nodes}
		var now []scale.Decision
		next := make(map[string]scale.State, len(rules))
		for _, r := range rules {
			var decisions []scale.Decision
			next[nameOf(r)], decisions = r.Step(states[nameOf(r)], snap)
			now = append(now, decisions...)
		}
		states = next
		result.Steps++
		result.Decisions += len(now)
		if !same(s.Decisions, now) {
			result.Differences = append(result.Differences, Difference{n, s.At, s.Decisions, now})
		}
	}
	return result, lines.Err()
}

// same compares what is written of decisions: times have no place there that a record
// does not keep.
func same(a, b []scale.Decision) bool {
	if len(a) != len(b) {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
