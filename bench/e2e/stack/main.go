// Command stack starts a whole Homing for tests in other languages: it prints
// one line of JSON that says where everything is, does what each line of its
// standard input says and prints "ok" or why not, and stops everything when that ends:
//
//	roll               every front replaces its workers, one by one; it does not wait
//	kill-worker        a worker of a front, another one each time, is killed
//	stop-worker 10s    one is stopped, and goes on after that; it does not wait
//	pubsub-failover    the master of the first pub/sub shard is killed
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/homing/homing/bench/stack"
)

func main() {
	var o stack.Options
	flag.StringVar(&o.Binary, "binary", "bin/homing", "the homing binary")
	flag.IntVar(&o.APIs, "apis", 2, "API processes")
	flag.IntVar(&o.Fronts, "fronts", 1, "fronts, each on a port of its own")
	flag.IntVar(&o.Workers, "workers", 4, "worker processes of each front")
	flag.IntVar(&o.Shards, "shards", 2, "pub/sub shards")
	flag.IntVar(&o.Replicas, "replicas", 2, "replicas of every Redis master")
	flag.Func("front-arg", "a further flag of each front", func(v string) error {
		o.FrontArgs = append(o.FrontArgs, v)
		return nil
	})
	flag.BoolVar(&o.Rooms, "rooms", false, "fronts have game rooms")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
		os.Exit(1)
	}
}

// run holds the stack up until in ends or ctx does.
func run(ctx context.Context, o stack.Options, in io.Reader, out io.Writer) error {
	s, err := stack.Start(ctx, o)
	if err != nil {
		return err
	}
	var fronts []string
	for _, f := range s.Fronts {
		fronts = append(fronts, f.URL())
	}
	err = json.NewEncoder(out).Encode(map[string]any{
		"apis":         s.API.URLs(),
		"front":        s.Front.URL(),
		"fronts":       fronts,
		"secret_file":  s.Access.SecretFile(),
		"api_key_file": s.Access.KeyFile(),
	})
	if err == nil {
		err = obey(ctx, s, in, out)
	}
	if stopErr := s.Stop(false); err == nil {
		err = stopErr
	}
	return err
}

// obey does what the lines of in say until it ends or ctx does.
func obey(ctx context.Context, s *stack.Stack, in io.Reader, out io.Writer) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(in); scan.Scan(); {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	f := faults{stack: s}
	defer f.end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, more := <-lines:
			if !more {
				return nil
			}
			result := "ok"
			if err := f.do(ctx, line); err != nil {
				result = err.Error()
			}
			if _, err := fmt.Fprintln(out, result); err != nil {
				return fmt.Errorf("answer %q: %w", line, err)
			}
		}
	}
}

// faults are what a test may ask for.
type faults struct {
	stack  *stack.Stack
	killed int           // or stopped
	stops  []*time.Timer // when who is stopped goes on
}

var errFault = errors.New("no such fault")

func (f *faults) do(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(line, " ")
	switch name {
	case "roll":
		for _, front := range f.stack.Fronts {
			if err := front.ReplaceWorkers(); err != nil {
				return err
			}
		}
		return nil
	case "kill-worker":
		return f.signal(syscall.SIGKILL)
	case "stop-worker":
		return f.stop(arg)
	case "pubsub-failover":
		master, err := f.stack.Redis.Master(ctx, stack.ShardMaster(0))
		if err != nil {
			return err
		}
		master.Kill()
		return nil
	}
	return fmt.Errorf("%w: %q", errFault, line)
}

// worker is the next one that something happens to.
func (f *faults) worker() (pid int, err error) {
	front := f.stack.Fronts[f.killed%len(f.stack.Fronts)]
	workers, err := front.Workers()
	if err != nil || len(workers) == 0 {
		return 0, errors.Join(err, errFault)
	}
	pid = workers[f.killed/len(f.stack.Fronts)%len(workers)]
	f.killed++
	return pid, nil
}

func (f *faults) signal(what syscall.Signal) error {
	pid, err := f.worker()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, what); err != nil {
		return fmt.Errorf("signal worker %d: %w", pid, err)
	}
	return nil
}

func (f *faults) stop(lasting string) error {
	d, err := time.ParseDuration(lasting)
	if err != nil {
		return fmt.Errorf("stop a worker: %w", err)
	}
	pid, err := f.worker()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop worker %d: %w", pid, err)
	}
	f.stops = append(f.stops, time.AfterFunc(d, func() { _ = syscall.Kill(pid, syscall.SIGCONT) }))
	return nil
}

// end has nobody be woken any more; the stack does that when it stops.
func (f *faults) end() {
	for _, t := range f.stops {
		t.Stop()
	}
}
