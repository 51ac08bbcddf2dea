// Command journey leads clients, by their conformance agents, through the life of
// a real deployment: cut connections, killed workers, a failover of pub/sub Redis
// and a rolling restart, all under load. Every notification must be given once, and
// those of each user in order; so must what the clients publish to a topic.
//
//	go run ./bench/e2e/journey -clients 20 -per 20 -- node client/js/test/agent.mjs
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say how long the journey is.
type options struct {
	binary    string
	workers   int
	clients   int
	per       int // clients of each agent's process
	cuts      int
	kills     int
	failovers int
	restarts  int
	rate      float64 // notifications a second, of each client
	publish   bool
	command   []string
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/homing", "the homing binary")
	flag.IntVar(&o.workers, "workers", 4, "front worker processes")
	flag.IntVar(&o.clients, "clients", 10, "clients, each with a user of its own")
	flag.IntVar(&o.per, "per", 1, `clients of each agent; above 1 for agents that heed "client" in commands`)
	flag.IntVar(&o.cuts, "cuts", 100, "connections cut at random, in all")
	flag.IntVar(&o.kills, "kills", 3, "workers killed")
	flag.IntVar(&o.failovers, "failovers", 1, "masters of pub/sub Redis killed")
	flag.IntVar(&o.restarts, "restarts", 1, "rolling restarts")
	flag.Float64Var(&o.rate, "rate", 5, "notifications a second, of each client")
	flag.BoolVar(&o.publish, "publish", false, "each client publishes to a topic that all hear, too")
	flag.Parse()
	o.command = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "journey:", err)
		os.Exit(1)
	}
}

// say tells how far the journey is.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stdout, "%s  %s\n", time.Now().UTC().Format("15:04:05.0"), fmt.Sprintf(format, args...))
}
