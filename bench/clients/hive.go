package clients

import (
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/child"
)

// Hive is a set of bee processes that share the clients of one run. Its
// methods block until every process has answered. They may be called at the
// same time, but for Prepare, Connect and Stop: nothing else may run beside
// those. A context that ends during a call kills the processes called.
type Hive struct {
	bees     []*child.Process
	prepared *Target // what Prepare was given last, until Connect has used it
	shares   []share // by process; since Prepare
}

// clientsPerProcess keeps a process under the usual limit of 20,000
// descriptors.
const clientsPerProcess = 18_000

// Start starts n bee processes by running argv; n is raised to what conns
// clients need when none of them are apart (see Processes). Stop ends them.
func Start(argv, env []string, n, conns int, stderr io.Writer) (*Hive, error) {
	h := &Hive{}
	for range max(n, Processes(conns, 0)) {
		p, err := child.Start(argv, env, stderr)
		if err != nil {
			return nil, errors.Join(err, h.Stop())
		}
		h.bees = append(h.bees, p)
	}
	return h, nil
}

// Over makes a hive of bee processes that were started elsewhere, of which
// there must be as many as Processes says. Stop ends them.
func Over(processes []*child.Process) *Hive { return &Hive{bees: processes} }

// Stop closes all clients and ends the processes, all at the same time.
func (h *Hive) Stop() error {
	errs := make([]error, len(h.bees))
	_ = h.each(func(i int, p *child.Process) error {
		errs[i] = p.Stop()
		return nil
	})
	return errors.Join(errs...)
}

// PIDs returns the ids of the bee processes on this machine.
func (h *Hive) PIDs() []int {
	var pids []int
	for _, p := range h.bees {
		if pid := p.PID(); pid != 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// each calls f for every process at the same time.
func (h *Hive) each(f func(int, *child.Process) error) error {
	var g errgroup.Group
	for i, p := range h.bees {
		g.Go(func() error { return f(i, p) })
	}
	return g.Wait() //nolint:wrapcheck // Call says which process and what
}

// subjects calls f for every process that holds apart clients, as each does.
func (h *Hive) subjects(f func(int, *child.Process) error) error {
	return h.each(func(i int, p *child.Process) error {
		if !h.shares[i].subjects() {
			return nil
		}
		return f(i, p)
	})
}
