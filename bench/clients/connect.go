package clients

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"github.com/homing/homing/bench/child"
)

// Target says whom to connect to and how.
type Target struct {
	Fronts  []string // ws://host:port/path, all with the same path; no path: the dialect's usual one
	Dialect Dialect  // what the fronts speak
	Secret  []byte   // signs players' tokens (HS256); empty: a token is the user's name
	Conns   int      // clients in all, users 0 and on
	Rate    float64  // connects a second; 0: as fast as they succeed

	// Apart is how many of the users, the last ones, are the subjects of a
	// fault (Storm, Stall). Latencies do not include theirs, and Verify does
	// not expect that they get anything. They have processes of their own:
	// see Processes; those have the least share of the CPU.
	Apart int
	// Topics is how many topics there are: see Plan.
	Topics int
	// SlowBuffer bounds the kernel's receive buffer of apart clients, in
	// bytes, so that it fills soon once they stop reading; 0 leaves it to the
	// kernel, which also rounds it up.
	SlowBuffer int
}

// Prepare gets everything ready that Connect needs and that is no work of the
// fronts: it signs the tokens and compares clocks. Clients of an earlier
// Connect are closed, and all counts start anew.
func (h *Hive) Prepare(ctx context.Context, t Target) error {
	swarms, err := h.swarms(t)
	if err != nil {
		return err
	}
	err = h.each(func(i int, p *child.Process) error {
		clock, err := p.Clock(ctx)
		if err != nil {
			return err
		}
		swarms[i].Ahead = clock.Offset
		return p.Call(ctx, "prepare", swarms[i], nil, nil)
	})
	if err == nil {
		h.prepared = &t
	}
	return err
}

// swarms shares the target's clients out and says to each process what is its.
func (h *Hive) swarms(t Target) ([]swarm, error) {
	fronts, path, err := resolve(t.Fronts)
	if err != nil {
		return nil, err
	}
	spoken, err := t.Dialect.speech()
	if err != nil {
		return nil, err
	}
	under := dialsUnderWay
	if spoken.carrier.polled() {
		under /= 4 // each is up to three connections that have shown no token, of which fronts keep so many only
	}
	if need := Processes(t.Conns, t.Apart); need > len(h.bees) {
		return nil, fmt.Errorf("%w: %d for %d clients, %d of them apart: want %d", errTooFew, len(h.bees), t.Conns, t.Apart, need)
	}
	h.shares = shareOut(len(h.bees), t.Conns, t.Apart)
	swarms := make([]swarm, len(h.bees))
	for i, s := range h.shares {
		swarms[i] = swarm{
			Fronts: fronts, Path: path, Dialect: t.Dialect, Secret: t.Secret,
			First: s.first, Count: s.count, Apart: s.apart, Topics: t.Topics,
			Rate: t.Rate * float64(s.count) / float64(max(1, t.Conns)), Under: max(1, under/len(h.bees)),
		}
		if s.apart {
			swarms[i].Buffer = t.SlowBuffer
		}
	}
	return swarms, nil
}

var errTooFew = errors.New("too few client processes")

// Connect connects all clients and returns when each is registered or has
// failed; a client that is told to come back later has failed. It prepares
// first, unless Prepare was called with the same target. onProgress (may be
// nil) hears the totals about twice a second. The error says why a client
// failed when any did.
func (h *Hive) Connect(ctx context.Context, t Target, onProgress func(Counts)) (Counts, error) {
	if h.prepared == nil || !reflect.DeepEqual(*h.prepared, t) {
		if err := h.Prepare(ctx, t); err != nil {
			return Counts{}, err
		}
	}
	h.prepared = nil
	sum := newSums(len(h.bees), onProgress)
	reports := make([]report, len(h.bees))
	err := h.each(func(i int, p *child.Process) error {
		return p.Call(ctx, "connect", nil, &reports[i], func(raw json.RawMessage) { sum.add(i, raw) })
	})
	total, why := total(reports)
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
