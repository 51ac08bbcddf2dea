package app

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/homing/homing/front"
	"github.com/homing/homing/front/master"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
)

// nodeConfig makes a front a node of a fleet.
type nodeConfig struct {
	Endpoint string            `help:"Where players reach this front: a name, an IPv4 address or an IPv6 address in brackets, with a port if it is not that of --front-listen. With it the front is a node of the fleet: it reports each second, players are assigned to it, and it can be drained. Empty: it takes no part." placeholder:"HOST[:PORT]"`
	Name     string            `help:"The node's name, which no other front has at the same time; as a rule the endpoint." placeholder:"NAME"`
	Cluster  string            `help:"What the node is for: players are assigned to a cluster." default:"game"`
	Region   string            `help:"Where the node is."`
	Version  string            `help:"What runs here, so that players can be assigned by it; as a rule the version of this program."`
	Label    map[string]string `help:"What else is to be known of the node; up to 16." placeholder:"K=V"`
	Capacity int               `help:"Players that the node carries; nobody is assigned to it beyond. 0: no bound is known." default:"0"`
}

// Validate reports the first option that cannot work.
func (c *nodeConfig) Validate(f *front.Config) error {
	if c.Endpoint == "" {
		return nil
	}
	if _, err := c.endpoint(f); err != nil {
		return err
	}
	i, err := c.identity(f, "", 1)
	if err == nil {
		err = i.Check()
	}
	if err != nil {
		return fmt.Errorf("node.%w", err)
	}
	return nil
}

// endpoint is where players reach the node.
func (c *nodeConfig) endpoint(f *front.Config) (string, error) {
	listen := f.Listen
	if listen == "" {
		listen = f.TLSListen
	}
	_, port, _ := net.SplitHostPort(listen) // an address that is none is told of elsewhere
	e, err := roster.Endpoint(c.Endpoint, port)
	if err != nil {
		return "", fmt.Errorf("node.endpoint: %w", err)
	}
	return e, nil
}

// identity is the node as the roster knows it.
func (c *nodeConfig) identity(f *front.Config, frontID string, workers int) (roster.Identity, error) {
	endpoint, err := c.endpoint(f)
	i := roster.Identity{
		Node: c.Name, Front: frontID, Endpoint: endpoint, Cluster: c.Cluster, Region: c.Region, Version: c.Version,
		Labels: c.Label, Capacity: c.Capacity, Workers: workers,
	}
	if i.Node == "" {
		i.Node = endpoint
	}
	if i.Version == "" {
		i.Version = ownVersion(readBuild())
	}
	return i, err
}

var notOfVersions = regexp.MustCompile(`[^A-Za-z0-9._+-]`)

// ownVersion is the version of a build as nodes have it: its release, or its commit.
func ownVersion(b build) string {
	v := b.version
	if v == "(devel)" || v == "unknown" {
		v = b.revision
	}
	v = notOfVersions.ReplaceAllString(v, "")
	return v[:min(len(v), 64)]
}

// node is a worker's part in a node of a fleet. The nil *node is that of a worker whose
// front takes no part.
type node struct{ reporter *roster.Reporter }

// newNode prepares the part of the worker of child; nil when the front takes none.
func newNode(c frontConfig, child *master.Child, g *ground) *node {
	if c.Node.Endpoint == "" || child == nil {
		return nil
	}
	identity, _ := c.Node.identity(&c.Front, child.Master, max(1, child.Workers)) // it was checked
	r := roster.New(roster.Config{}, g.redis, g.keys, g.reg)
	return &node{roster.NewReporter(r, identity, child.Process, child.Slot, g.log, g.reg)}
}

// arrived is what is told of the tickets of those who are let in; nil: nobody is.
func (n *node) arrived() func(ticket string) {
	if n == nil {
		return nil
	}
	return n.reporter.Arrived
}

// start has w report until leave is called, which blocks until the roster knows that it
// is gone, for a moment at most.
func (n *node) start(w *worker) (leave func()) {
	if n == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.reporter.Run(ctx, &nodeWorker{worker: w}) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.log.Warn("the reports of this node ended badly", "err", err)
		}
	}
}

// nodeWorker is a front worker as a part of its node.
type nodeWorker struct {
	*worker

	used time.Duration // CPU, when it was looked at last
	at   time.Time
}

// Leaving is closed when the worker begins to stop.
func (w *nodeWorker) Leaving() <-chan struct{} { return w.front.Leaving() }

// Order gives the worker the orders of its node.
func (w *nodeWorker) Order(o fleet.Orders) { w.front.Order(o) }

// Load is what the worker holds. Only the reporter calls it.
func (w *nodeWorker) Load() (l fleet.Load, p fleet.Progress) {
	l, p = w.front.Load()
	l.CPU, l.Memory = w.cpu(time.Now()), residentMemory()
	return l, p
}

// cpu is what the process has used since it was asked last, as a part of all that its
// machine or its quota gives.
func (w *nodeWorker) cpu(now time.Time) float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0 // the only errors are of the arguments
	}
	used := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	before, since := w.used, w.at
	w.used, w.at = used, now
	if since.IsZero() || now.Equal(since) {
		return 0
	}
	return float64(used-before) / float64(now.Sub(since)) / float64(runtime.GOMAXPROCS(0))
}

// residentMemory is the bytes of memory that the process takes; 0: that is not known.
func residentMemory() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := bytes.Fields(text)
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}
