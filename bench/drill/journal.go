package drill

import (
	"fmt"
	"io"
	"time"
)

// journal is what a drill tells while it is under way, and what it finds.
type journal struct {
	stderr  io.Writer
	started time.Time
	result  Result
	faultAt time.Time // zero: no fault yet
	stalls  stallMeter
}

func newJournal(scenario string, stderr io.Writer) *journal {
	return &journal{stderr: stderr, started: time.Now(), result: Result{Scenario: scenario}}
}

// say prints a line of progress.
func (j *journal) say(format string, args ...any) {
	fmt.Fprintf(j.stderr, "%s %5.1fs  %s\n", j.result.Scenario, time.Since(j.started).Seconds(), fmt.Sprintf(format, args...))
}

// skip gives the scenario up because the machine does not allow it.
func (j *journal) skip(why error) *Result {
	j.say("skipped: %v", why)
	j.result.Skipped, j.result.Reason = true, why.Error()
	return &j.result
}
