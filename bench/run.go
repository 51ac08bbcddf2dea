package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/report"
)

// run is one scenario under way, and what it has found.
type run struct {
	report.Report

	opts   Options
	stderr io.Writer
	small  bool // it was noted that the load is small
}

func newRun(name string, opts Options, stderr io.Writer) *run {
	return &run{opts: opts, stderr: child.Shared(stderr), Report: report.Report{
		Scenario: name, Command: append([]string{"homing"}, os.Args[1:]...),
		Started: time.Now(), Machine: report.Machine(),
	}}
}

// say prints a line of progress.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.stderr, "%6.1fs  %s\n", time.Since(r.Started).Seconds(), fmt.Sprintf(format, args...))
}

// note adds what a reader has to know, and says it at once.
func (r *run) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Notes = append(r.Notes, text)
	r.say("%s", text)
}

// publish prints the result in the form that the options ask for.
func (r *run) publish(stdout io.Writer) error {
	r.Took = time.Since(r.Started)
	if r.opts.HTML != "" {
		if err := r.writePage(); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		r.say("report: %s", r.opts.HTML)
	}
	if r.opts.JSON {
		return r.WriteJSON(stdout)
	}
	return r.WriteTable(stdout)
}

func (r *run) writePage() (err error) {
	f, err := os.Create(r.opts.HTML)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return r.WriteHTML(f)
}
