package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// LocalConfig says what nodes of this machine are.
type LocalConfig struct {
	// Command is what a node runs: the program and its arguments. It is to end in good
	// order by SIGTERM.
	Command func(n LocalNode) []string
	Host    string // that they listen on, as 127.0.0.1
	First   int    // the first of the ports
	Ports   int    // how many there are: so many nodes there may be at once
	LogDir  string // NAME.log in it has what a node writes; it must exist
	// Grace is how long a node has to end in good order, and those that are left when the
	// driver is closed.
	Grace time.Duration
}

// LocalNode is one node of this machine.
type LocalNode struct {
	Name     string // front-1 is the one at the first port
	Endpoint string // host and port for players
	Host     string
	Port     int
}

// Local is a driver whose nodes are processes of this machine. It starts none anew by
// itself: a node that ends is missed by the controller, which orders another. Close it:
// then none is left.
type Local struct {
	cfg LocalConfig
	log *slog.Logger

	mu     sync.Mutex
	nodes  map[string]*localProcess // by name
	used   []int                    // when each port was used last, in nodes started; 0: never
	starts int
	closed bool
}

// localProcess is one that runs.
type localProcess struct {
	LocalNode

	cmd    *exec.Cmd
	exited chan struct{}
	asked  bool // to end; guarded by Local.mu
}

// NewLocal returns the driver. Nothing runs yet.
func NewLocal(c LocalConfig, log *slog.Logger) *Local {
	return &Local{cfg: c, log: log, nodes: make(map[string]*localProcess), used: make([]int, c.Ports)}
}

// Name is "local".
func (*Local) Name() string { return "local" }

var (
	errNoPort = errors.New("local: no port of the range is free")
	errClosed = errors.New("local: the driver is closed")
)

// Grow starts processes. It does not wait until they are ready. When it fails, those
// that were started go on.
func (d *Local) Grow(_ context.Context, o Order) error {
	for i := range o.Nodes {
		if err := d.start(); err != nil {
			return fmt.Errorf("%w (%d of %d were started)", err, i, o.Nodes)
		}
	}
	return nil
}

// Remove asks the process of a node to end, and kills it after the grace, which is an
// error. A node that is not there any more is none.
func (d *Local) Remove(ctx context.Context, _ Order, node fleet.Node) error {
	d.mu.Lock()
	p := d.nodes[node.ID]
	d.mu.Unlock()
	if p == nil {
		return nil
	}
	return d.end(ctx, p)
}

// PIDs are the processes of the nodes that run, by their names.
func (d *Local) PIDs() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	pids := make(map[string]int, len(d.nodes))
	for name, p := range d.nodes {
		pids[name] = p.cmd.Process.Pid
	}
	return pids
}

// Close ends all nodes, at once, and waits for them. No other is started.
func (d *Local) Close() error {
	d.mu.Lock()
	d.closed = true
	var all []*localProcess
	for _, p := range d.nodes {
		all = append(all, p)
	}
	d.mu.Unlock()
	errs := make([]error, len(all))
	var ending sync.WaitGroup
	for i, p := range all {
		ending.Go(func() { errs[i] = d.end(context.Background(), p) })
	}
	ending.Wait()
	return errors.Join(errs...)
}

// start starts a node at the port that was not used for the longest time: who is left of
// the one before may be there for a while.
func (d *Local) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	i := d.freeLocked()
	if i < 0 {
		return fmt.Errorf("%w: %d to %d", errNoPort, d.cfg.First, d.cfg.First+d.cfg.Ports-1)
	}
	port := d.cfg.First + i
	n := LocalNode{
		Name: localName(i), Host: d.cfg.Host, Port: port,
		Endpoint: net.JoinHostPort(d.cfg.Host, strconv.Itoa(port)),
	}
	p, err := d.run(n)
	if err != nil {
		return err
	}
	d.starts++
	d.used[i] = d.starts
	d.nodes[n.Name] = p
	d.log.Info("driver: node started", "node", n.Name, "endpoint", n.Endpoint, "pid", p.cmd.Process.Pid)
	go d.watch(p)
	return nil
}

func localName(i int) string { return "front-" + strconv.Itoa(i+1) }

// freeLocked is the port to use next, -1 when there is none.
func (d *Local) freeLocked() int {
	free := -1
	for i, at := range d.used {
		if d.nodes[localName(i)] == nil && (free < 0 || at < d.used[free]) {
			free = i
		}
	}
	return free
}

func (d *Local) run(n LocalNode) (*localProcess, error) {
	out, err := os.OpenFile(filepath.Join(d.cfg.LogDir, n.Name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	defer out.Close()
	args := d.cfg.Command(n)
	cmd := exec.Command(args[0], args[1:]...) //nolint:gosec,noctx // ourselves; ends by signal, not by a context
	cmd.Stdout, cmd.Stderr = out, out
	// If this process dies they end too, in good order. In a group of their own they do
	// not get what a terminal sends to it: Close ends them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("local: start %s: %w", n.Name, err)
	}
	return &localProcess{LocalNode: n, cmd: cmd, exited: make(chan struct{})}, nil
}

// watch waits for the end of a node.
func (d *Local) watch(p *localProcess) {
	_ = p.cmd.Wait() // its state says how it ended
	d.mu.Lock()
	delete(d.nodes, p.Name)
	asked := p.asked
	d.mu.Unlock()
	if asked {
		d.log.Info("driver: node ended", "node", p.Name, "status", p.cmd.ProcessState.String())
	} else {
		d.log.Warn("driver: a node ended, which nobody had asked for", "node", p.Name, "status", p.cmd.ProcessState.String(),
			"log", filepath.Join(d.cfg.LogDir, p.Name+".log"))
	}
	close(p.exited)
}

// end asks a node to end and waits; it is killed after the grace, or with ctx.
func (d *Local) end(ctx context.Context, p *localProcess) error {
	d.mu.Lock()
	p.asked = true
	d.mu.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	case <-time.After(d.cfg.Grace):
	}
	_ = p.cmd.Process.Kill() // likewise
	<-p.exited
	return fmt.Errorf("local: node %s had not ended in time, and was killed", p.Name)
}
