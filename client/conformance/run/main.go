// Command run plays the list of situations for a client's agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/client/conformance"
)

type options struct {
	only     string
	list     bool
	verbose  bool
	parallel int
	late     time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.only, "run", "", "only situations whose name this regular expression finds")
	flag.BoolVar(&o.list, "list", false, "print the names of the situations")
	flag.BoolVar(&o.verbose, "v", false, "pass on what the agent writes to its standard error")
	flag.IntVar(&o.parallel, "parallel", 2*runtime.NumCPU(), "situations played at once")
	flag.DurationVar(&o.late, "late", 5*time.Second, "by how much an attempt may come later than it should")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, flag.Args(), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, command []string, out io.Writer) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	all, err := conformance.Situations()
	if err != nil {
		return err
	}
	var some []conformance.Situation
	for _, s := range all {
		if only.MatchString(s.Name) {
			some = append(some, s)
		}
	}
	switch {
	case o.list:
		for _, s := range some {
			fmt.Fprintf(out, "%s: %s\n", s.Name, s.About)
		}
		return nil
	case len(command) == 0:
		return errors.New("which agent? go run ./client/conformance/run -- node client/js/test/agent.mjs")
	}
	return playAll(ctx, o, some, command, out)
}

// playAll plays situations, some at once, and prints what became of each.
func playAll(ctx context.Context, o options, all []conformance.Situation, command []string, out io.Writer) error {
	opts := conformance.Options{Late: o.late}
	if o.verbose {
		opts.Stderr = os.Stderr
	}
	var passed, failed, skipped int
	var mu sync.Mutex
	note := func(name string, took time.Duration, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			passed++
			fmt.Fprintf(out, "ok    %s, %.1f s\n", name, took.Seconds())
		case errors.Is(err, conformance.ErrSkipped):
			skipped++
			fmt.Fprintf(out, "skip  %s: %v\n", name, err)
		default:
			failed++
			fmt.Fprintf(out, "FAIL  %s: %v\n", name, err)
		}
	}
	var wait sync.WaitGroup
	turn := make(chan struct{}, max(1, o.parallel))
	for _, s := range all {
		turn <- struct{}{}
		wait.Go(func() {
			defer func() { <-turn }()
			from := time.Now()
			err := conformance.Play(ctx, s, command, opts)
			note(s.Name, time.Since(from), err)
		})
	}
	wait.Wait()
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		return errors.New("not every situation went well")
	}
	return nil
}
