package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/hook/webhook"
	"github.com/homing/homing/redisx"
)

// senderParts is what senders of events stand on.
type senderParts struct {
	roster *hook.Roster
	redis  *redisx.Redis
	keys   hub.Keys
	log    *slog.Logger
	reg    prometheus.Registerer
}

// hookSenders are the senders of an API server: one for each endpoint that its options,
// or its file, name now.
type hookSenders struct {
	senderParts

	cfg     hookConfig
	loads   *prometheus.CounterVec
	running sync.WaitGroup

	// Owned by load, then by run.
	seen  os.FileInfo     // the file when it was read last; nil: it was not there
	tried time.Time       // when that was
	ctx   context.Context //nolint:containedctx // the life of the senders, not of a call; nil before run

	changing sync.Mutex // held while senders end, which takes a while, and others begin
	closed   bool       // guarded by changing

	mu      sync.Mutex
	all     map[string]*hookSender // by endpoint
	problem string                 // why the file could not be used the last time; empty: it could
}

// hookSender is one of them.
type hookSender struct {
	spec     webhook.Spec
	endpoint *webhook.Endpoint
	sender   *hook.Sender
	metrics  *prometheus.Registry // its own: they go with it
}

func newHookSenders(c hookConfig, p senderParts) *hookSenders {
	s := &hookSenders{senderParts: p, cfg: c, all: make(map[string]*hookSender)}
	s.loads = promauto.With(p.reg).NewCounterVec(prometheus.CounterOpts{
		Name: "homing_hook_endpoint_loads_total",
		Help: "Times that the file of endpoints was read again: ok, or failed, which leaves the endpoints before in use.",
	}, []string{"result"})
	for _, result := range []string{"ok", "failed"} {
		s.loads.WithLabelValues(result)
	}
	return s
}

const (
	// endpointsPoll is how often the file is looked at, and endpointsRetry how often one
	// that could not be used is read again, though it looks the same: what is wrong may
	// be a file of secrets.
	endpointsPoll  = time.Second
	endpointsRetry = 10 * time.Second
)

// run sends until ctx ends, and follows changes of the file. It returns nil.
func (s *hookSenders) run(ctx context.Context) error {
	defer s.running.Wait()
	s.ctx = ctx
	for _, x := range s.now() {
		s.start(x)
	}
	tick := time.NewTicker(endpointsPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.cfg.File != "" && (s.changed() || s.failed() && time.Since(s.tried) > endpointsRetry) {
			s.reload()
		}
	}
}

// now are the senders that there are.
func (s *hookSenders) now() map[string]*hookSender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// failed reports whether the file could not be used the last time.
func (s *hookSenders) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem != ""
}

// changed reports whether the file is another than the one last read.
func (s *hookSenders) changed() bool {
	now, err := os.Stat(s.cfg.File)
	if err != nil || s.seen == nil {
		return (err == nil) != (s.seen != nil)
	}
	return !os.SameFile(now, s.seen) || now.Size() != s.seen.Size() || !now.ModTime().Equal(s.seen.ModTime())
}

// reload reads the file again. One that cannot be used leaves the endpoints as they are.
func (s *hookSenders) reload() {
	err := s.load()
	result, problem := "ok", ""
	if err != nil {
		result, problem = "failed", err.Error()
		s.log.Error("hook: the file of endpoints cannot be used; those before stay", "err", err)
	} else {
		s.log.Info("hook: the file of endpoints was read", "endpoints", len(s.now()))
	}
	s.loads.WithLabelValues(result).Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = problem
}

// load reads what endpoints there are, and has those sent to: all of the changes, or none.
// One that is as it was is left alone, unless it has answered 410.
func (s *hookSenders) load() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.tried = time.Now(); s.cfg.File != "" {
		s.seen, _ = os.Stat(s.cfg.File) // before it is read: what changes meanwhile is seen after
	}
	specs, err := s.cfg.endpoints()
	if err != nil {
		return err
	}
	before := s.now()
	after, targets := make(map[string]*hookSender), make([]hook.Target, 0, len(specs))
	for i := range specs {
		spec := &specs[i]
		targets = append(targets, spec.Target)
		if x := before[spec.Name]; x != nil && reflect.DeepEqual(x.spec, *spec) && !x.sender.Gone() {
			after[spec.Name] = x
			continue
		}
		endpoint, err := webhook.New(spec.Endpoint, s.log)
		if err != nil {
			return fmt.Errorf("hook endpoint %s: %w", spec.Name, err)
		}
		after[spec.Name] = &hookSender{spec: *spec, endpoint: endpoint}
	}
	if !s.closed {
		s.replace(before, after)
		s.roster.Have(targets)
	}
	return nil
}

// replace ends those senders that were there before and are not to be after, and begins
// those that are new. What an endpoint was sent by the one before is answered, or broken
// off, by then.
func (s *hookSenders) replace(before, after map[string]*hookSender) {
	old := make(map[string]*hookSender)
	for name, x := range before {
		if after[name] != x {
			old[name] = x
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	s.end(ctx, old)
	for _, x := range after {
		if x.sender == nil {
			x.metrics = prometheus.NewRegistry()
			x.sender = hook.NewSender(x.spec.Target, x.spec.Sender, x.endpoint, s.redis, s.keys, s.log, x.metrics)
			s.reg.MustRegister(x.metrics)
			s.start(x)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = after
}

// start has x send, if senders run by now.
func (s *hookSenders) start(x *hookSender) {
	if ctx := s.ctx; ctx != nil {
		s.running.Go(func() { _ = x.sender.Run(ctx) }) // it does not fail
	}
}

// end closes senders and waits for them, or for ctx.
func (s *hookSenders) end(ctx context.Context, some map[string]*hookSender) {
	var closing sync.WaitGroup
	for name, x := range some {
		closing.Go(func() {
			if err := x.sender.Close(ctx); err != nil {
				s.log.Warn("ending before every event was answered", "endpoint", name, "err", err)
			}
			x.endpoint.Close()
			s.reg.Unregister(x.metrics)
		})
	}
	closing.Wait()
}

// close has requests under way end, and partitions given back.
func (s *hookSenders) close(ctx context.Context) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.closed = true
	s.end(ctx, s.now())
}

// degraded says which endpoints want no events any more, and why the file cannot be used.
func (s *hookSenders) degraded() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		all = append(all, x.sender.Degraded()...)
	}
	if s.problem != "" {
		all = append(all, "hooks: "+s.problem)
	}
	return all
}
