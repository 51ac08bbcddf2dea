// Command stack starts a whole Homing for tests in other languages: it prints
// one line of JSON that says where everything is, and stops everything when
// its standard input ends.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/homing/homing/bench/stack"
)

func main() {
	var o stack.Options
	flag.StringVar(&o.Binary, "binary", "bin/homing", "the homing binary")
	flag.IntVar(&o.APIs, "apis", 2, "API processes")
	flag.IntVar(&o.Workers, "workers", 4, "front worker processes")
	flag.IntVar(&o.Shards, "shards", 2, "pub/sub shards")
	flag.IntVar(&o.Replicas, "replicas", 2, "replicas of every Redis master")
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
	err = json.NewEncoder(out).Encode(map[string]any{
		"apis":         s.API.URLs(),
		"front":        s.Front.URL(),
		"secret_file":  s.Access.SecretFile(),
		"api_key_file": s.Access.KeyFile(),
	})
	if err == nil {
		wait(ctx, in)
	}
	if stopErr := s.Stop(false); err == nil {
		err = stopErr
	}
	return err
}

// wait returns when in has ended or ctx has.
func wait(ctx context.Context, in io.Reader) {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
