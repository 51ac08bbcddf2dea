package bees

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/child"
)

// Hive is a set of bee processes that share the clients of one run. Its
// methods block until every process has answered, and are not to be called
// concurrently.
type Hive struct {
	bees  []*child.Process
	first []int // by process, the number of its first client
}

// clientsPerProcess keeps a process under the usual limit of 20,000
// descriptors.
const clientsPerProcess = 18_000

// Start starts n bee processes by running argv; n is raised to what conns
// clients need. Stop ends them.
func Start(argv, env []string, n, conns int, stderr io.Writer) (*Hive, error) {
	n = max(n, (conns+clientsPerProcess-1)/clientsPerProcess, 1)
	h := &Hive{}
	for range n {
		p, err := child.Start(argv, env, stderr)
		if err != nil {
			return nil, errors.Join(err, h.Stop())
		}
		h.bees = append(h.bees, p)
	}
	return h, nil
}

// Stop closes all clients and ends the processes.
func (h *Hive) Stop() error {
	var all error
	for _, p := range h.bees {
		all = errors.Join(all, p.Stop())
	}
	return all
}

// PIDs returns the bee processes' ids.
func (h *Hive) PIDs() []int {
	var pids []int
	for _, p := range h.bees {
		pids = append(pids, p.PID())
	}
	return pids
}

// Target says whom to connect to and how.
type Target struct {
	Fronts []string // ws://host:port/path, all with the same path
	Secret []byte   // signs players' tokens (HS256); empty: a token is the user's name
	Conns  int      // clients in all, users 0 and on
	Rate   float64  // connects a second; 0: as fast as they succeed
}

// Connect connects all clients and returns when each is registered or has
// failed. onProgress (may be nil) hears the totals about twice a second.
// The error says why a client failed when any did.
func (h *Hive) Connect(ctx context.Context, t Target, onProgress func(Counts)) (Counts, error) {
	fronts, path, err := resolve(t.Fronts)
	if err != nil {
		return Counts{}, err
	}
	h.first = make([]int, len(h.bees))
	swarms := make([]swarm, len(h.bees))
	for i := range h.bees {
		lo, hi := t.Conns*i/len(h.bees), t.Conns*(i+1)/len(h.bees)
		h.first[i] = lo
		swarms[i] = swarm{Fronts: fronts, Path: path, First: lo, Count: hi - lo, Rate: t.Rate / float64(len(h.bees)), Secret: t.Secret}
	}
	sum := newSums(len(h.bees), onProgress)
	reports := make([]report, len(h.bees))
	err = h.each(func(i int, p *child.Process) error {
		return p.Call(ctx, "connect", swarms[i], &reports[i], func(raw json.RawMessage) { sum.add(i, raw) })
	})
	total, _, why := merge(reports)
	if err == nil && total.Failed > 0 {
		err = fmt.Errorf("%d of %d connects failed: %s", total.Failed, t.Conns, why)
	}
	return total, err
}

// sums adds up the processes' progress.
type sums struct {
	onProgress func(Counts)
	mu         sync.Mutex
	last       []Counts
}

func newSums(n int, onProgress func(Counts)) *sums {
	return &sums{onProgress: onProgress, last: make([]Counts, n)}
}

func (s *sums) add(i int, raw json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onProgress == nil || json.Unmarshal(raw, &s.last[i]) != nil {
		return
	}
	var sum Counts
	for _, c := range s.last {
		sum = sum.plus(c)
	}
	s.onProgress(sum)
}

var errFront = errors.New("front that bees cannot dial")

// resolve turns ws:// addresses into what an engine dials.
func resolve(fronts []string) (addrs []netip.AddrPort, path string, err error) {
	for _, f := range fronts {
		u, err := url.Parse(f)
		if err != nil {
			return nil, "", fmt.Errorf("front: %w", err)
		}
		addr, err := netip.ParseAddrPort(strings.Replace(u.Host, "localhost", "127.0.0.1", 1))
		if err != nil {
			return nil, "", fmt.Errorf("front %q: %w", f, err)
		}
		if u.Scheme != "ws" || !addr.Addr().Is4() {
			return nil, "", fmt.Errorf("%w: %q: want ws:// and an IPv4 address", errFront, f)
		}
		addrs, path = append(addrs, addr), u.Path
	}
	if len(addrs) == 0 {
		return nil, "", errors.New("no front to connect to")
	}
	return addrs, path, nil
}

// Reset forgets the latencies seen so far: the measured part starts.
func (h *Hive) Reset(ctx context.Context) error {
	return h.each(func(_ int, p *child.Process) error { return p.Call(ctx, "reset", nil, nil, nil) })
}

// Report returns the running totals and the latencies, in microseconds, of
// everything read since Reset.
func (h *Hive) Report(ctx context.Context) (Counts, *hdrhistogram.Histogram, error) {
	reports := make([]report, len(h.bees))
	err := h.each(func(i int, p *child.Process) error { return p.Call(ctx, "report", nil, &reports[i], nil) })
	if err != nil {
		return Counts{}, nil, err
	}
	total, lag, _ := merge(reports)
	if lag == nil {
		return total, nil, errors.New("latencies of a helper process are unreadable")
	}
	return total, lag, nil
}

// merge adds reports up; the histogram is nil when one does not decode.
func merge(reports []report) (total Counts, lag *hdrhistogram.Histogram, why string) {
	lag = newHistogram()
	for _, r := range reports {
		total = total.plus(r.Counts)
		if r.Failed != "" {
			why = r.Failed
		}
		part, err := hdrhistogram.Decode([]byte(r.Lag))
		if err != nil {
			lag = nil
			continue
		}
		if lag != nil {
			lag.Merge(part)
		}
	}
	return total, lag, why
}

// Verify compares what every client has read so far with the plan.
func (h *Hive) Verify(ctx context.Context, p Plan, s Sent) (Verdict, error) {
	verdicts := make([]Verdict, len(h.bees))
	err := h.each(func(i int, c *child.Process) error {
		return c.Call(ctx, "verify", verification{Plan: p, Sent: s}, &verdicts[i], nil)
	})
	var sum Verdict
	for v := range slices.Values(verdicts) {
		sum = sum.plus(v)
	}
	return sum, err
}

// each calls f for every process at the same time.
func (h *Hive) each(f func(int, *child.Process) error) error {
	var g errgroup.Group
	for i, p := range h.bees {
		g.Go(func() error { return f(i, p) })
	}
	return g.Wait() //nolint:wrapcheck // Call says which process and what
}
