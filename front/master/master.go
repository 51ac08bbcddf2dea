package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub"
)

// Address is one address that every worker listens on.
type Address struct {
	Addr string // host:port
	TLS  bool   // connections start with a TLS handshake
}

// Master owns the sockets and the worker processes.
type Master struct {
	id      hub.ProcessID // drawn at each start
	cfg     Config
	log     *slog.Logger
	reg     *prometheus.Registry
	m       *metrics
	slots   []*slot
	dir     string // of the workers' admin sockets
	replace chan struct{}
	turn    atomic.Uint32 // spreads handed-over connections
	ended   ended
	plain   bool // there are addresses without TLS

	ticketKeys  TicketKeys             // nil: none are shared
	ticketsWord atomic.Pointer[string] // what the workers are told of them; nil: nothing
}

// New opens the sockets of every slot with options o, and fails where another
// process listens already, which would take a part of the connections. No worker runs before
// Run is called. Metrics go to reg, which Handler serves with the workers'.
func New(cfg Config, addrs []Address, o epoll.Options, log *slog.Logger, reg *prometheus.Registry) (*Master, error) {
	if cfg.Workers == 0 {
		cfg.Workers = cpus()
	}
	dir, err := os.MkdirTemp("", "homing-front-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the workers' admin sockets: %w", err)
	}
	m := &Master{id: hub.NewProcessID(), cfg: cfg, log: log, reg: reg, dir: dir, replace: make(chan struct{}, 1)}
	m.plain = slices.ContainsFunc(addrs, func(a Address) bool { return !a.TLS })
	m.m = newMetrics(m, reg)
	for i := range cfg.Workers {
		s, err := newSlot(m, i, addrs, o)
		if err != nil {
			m.close()
			return nil, err
		}
		m.slots = append(m.slots, s)
		addrs, o.Join = s.addresses(), true // a free port is chosen once, and nobody else may listen there
	}
	return m, nil
}

// Addresses returns the addresses listened on, with the port that was chosen
// where 0 was asked for.
func (m *Master) Addresses() []Address { return m.slots[0].addresses() }

// Replace begins a rolling replacement, as SIGHUP does. It never blocks; calls
// during one begin another afterwards.
func (m *Master) Replace() {
	select {
	case m.replace <- struct{}{}:
	default:
	}
}

// Run keeps the workers running until ctx ends, then stops them and returns
// nil; at the latest after the stop timeout. On SIGHUP it replaces them one
// by one. It closes the sockets that New opened.
func (m *Master) Run(ctx context.Context) error {
	defer m.close()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var slots sync.WaitGroup
	for _, s := range m.slots {
		slots.Go(func() { s.run(ctx) })
	}
	defer slots.Wait()
	if m.ticketKeys != nil {
		slots.Go(func() { m.renewTickets(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			m.Replace()
		case <-m.replace:
			m.roll(ctx)
		}
	}
}

// roll replaces the workers one after the other, and stops at the first
// successor that does not become ready: the old worker then stays.
func (m *Master) roll(ctx context.Context) {
	m.log.Info("replacing the workers")
	for _, s := range m.slots {
		if err := s.renew(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				m.log.Error("replace the workers: given up", "slot", s.index, "err", err)
			}
			return
		}
	}
	m.log.Info("workers replaced")
}

// Ready reports nil when at least one worker serves, answers and is reached;
// else what each slot's does.
func (m *Master) Ready() error {
	var why []string
	for _, s := range m.slots {
		st := s.state.Load()
		if st.condition == fit && (m.plain || !s.tlsClosed()) {
			return nil
		}
		text := fmt.Sprintf("worker %d %v", s.index, st)
		if s.tlsClosed() {
			text += ", " + tlsClosedText
		}
		if waits := s.waits.Load(); waits != nil {
			text += ", the next one waits: " + *waits
		}
		why = append(why, text)
	}
	return fmt.Errorf("0 of %d workers serve: %s", len(m.slots), strings.Join(why, "; "))
}

// tlsClosedText is what operators read of it; the worker's log says more.
const tlsClosedText = "its TLS listener is closed, because the certificate cannot be read"

// Degraded says what is not served, though some worker serves.
func (m *Master) Degraded() (out []string) {
	for _, s := range m.slots {
		if s.tlsClosed() {
			out = append(out, fmt.Sprintf("worker %d: %s", s.index, tlsClosedText))
		}
	}
	return out
}

// hand gives an accepted connection to a worker of any slot but not, in turn.
// It reports false, and leaves fd to the caller, when there is none.
func (m *Master) hand(fd int, overTLS bool, not *slot) bool {
	start := int(m.turn.Add(1))
	for i := range m.slots {
		s := m.slots[(start+i)%len(m.slots)]
		if s == not || s.condition() != fit {
			continue
		}
		if c := s.serving.Load(); c != nil && c.give(fd, overTLS) {
			m.m.handed.Inc()
			return true
		}
	}
	return false
}

// othersFit reports whether another slot than s serves as it should.
func (m *Master) othersFit(s *slot) bool {
	for _, o := range m.slots {
		if o != s && o.condition() == fit {
			return true
		}
	}
	return false
}

func (m *Master) close() {
	for _, s := range m.slots {
		s.close()
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.log.Warn("remove the directory of admin sockets", "err", err)
	}
}
