// Command proxies holds idle players behind nginx and HAProxy, with the configuration
// files of deploy/proxies, for as long as it is told to; then each must still hear a
// notification, on the connection that it has had all the time.
//
//	go run ./bench/e2e/proxies -binary bin/homing -for 10m
//
// It starts everything itself and prints a line for each player. It ends with 1 when one
// was cut off.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	o := options{}
	flag.StringVar(&o.binary, "binary", "bin/homing", "the homing binary")
	flag.DurationVar(&o.hold, "for", 10*time.Minute, "how long players are idle")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxies:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	s, err := begin(ctx, o)
	if err != nil {
		return err
	}
	defer s.end()
	return s.holdAll(ctx, o.hold, func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) })
}
