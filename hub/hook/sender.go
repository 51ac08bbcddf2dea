package hook

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// sentRemembered is how many delivered events of a partition a Sender remembers:
// those that come up again, because a failover forgot that they were removed, are
// not sent again by it.
const sentRemembered = 512

// Sender delivers events to one Endpoint. Several of them, in as many processes,
// share its partitions. It is safe for concurrent use. A nil Sender sends nothing,
// and nothing is the matter with it.
type Sender struct {
	cfg      SenderConfig
	name     string
	wanted   patterns
	timing   timing
	endpoint Endpoint
	keys     hub.HookKeys
	lead     *redisx.Shard // where senders are counted
	self     string        // of this Sender's life: its name, and its token of every lease
	homes    []*home
	slots    chan struct{} // one for each request that may be under way
	log      *slog.Logger
	told     *complaints
	met      senderMetrics
	report   *reporter

	gone      atomic.Bool   // the endpoint wants no more
	closing   chan struct{} // Close was called
	closeOnce sync.Once
	closed    chan struct{} // Run has ended

	// Owned by Run.
	lanes map[*home]*lane
	ended chan *lane
	share int // partitions that this Sender may hold
}

// timing is how often a Sender does what.
type timing struct {
	lease   time.Duration // how long a lease stands
	renew   time.Duration // how often it is renewed
	balance time.Duration // how often Senders share anew
	poll    time.Duration // how often an idle partition is looked at
	grace   time.Duration // how long requests under way may take when a lane ends
	first   time.Duration // pause after an event's first failure; it doubles
	most    time.Duration // up to this
}

func defaultTiming() timing {
	return timing{
		lease: 6 * time.Second, renew: 2 * time.Second, balance: time.Second, poll: 200 * time.Millisecond,
		grace: 2 * time.Second, first: time.Second, most: time.Minute,
	}
}

// NewSender returns a Sender of the events that t wants to endpoint. Both
// configurations must be valid. Run should be running. Metrics have the endpoint's
// name.
func NewSender(t Target, cfg SenderConfig, endpoint Endpoint, r *redisx.Redis, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Sender {
	log = log.With("endpoint", t.Name)
	s := &Sender{
		cfg: cfg, name: t.Name, wanted: t.Events, timing: defaultTiming(), endpoint: endpoint, keys: t.keys(keys),
		lead: r.Inbox.Lead(), self: rand.Text(), homes: homesOf(r.Inbox, t.keys(keys)),
		slots: make(chan struct{}, cfg.Parallel), log: log, told: newComplaints(log),
		closing: make(chan struct{}), closed: make(chan struct{}),
		lanes: make(map[*home]*lane), report: newReporter(t, r, keys),
	}
	s.ended = make(chan *lane, len(s.homes))
	s.met = newSenderMetrics(prometheus.WrapRegistererWith(prometheus.Labels{"endpoint": t.Name}, reg), s)
	return s
}

// Run delivers events until ctx ends or Close is called, and returns nil.
func (s *Sender) Run(ctx context.Context) error {
	defer close(s.closed)
	every := time.NewTicker(s.timing.balance)
	defer every.Stop()
	for {
		s.step(ctx)
		select {
		case <-ctx.Done():
			s.stopAll()
			return nil
		case <-s.closing:
			s.stopAll()
			s.noteAnswers(ctx)
			s.leave(ctx)
			return nil
		case l := <-s.ended:
			s.forget(l)
		case <-every.C:
		}
	}
}

// step shares the partitions anew, or gives all of them back when the endpoint
// wants no more events.
func (s *Sender) step(ctx context.Context) {
	if !s.gone.Load() {
		s.balance(ctx)
	} else if len(s.lanes) > 0 {
		s.stopAll()
		s.leave(ctx)
	}
	s.noteAnswers(ctx)
}

// noteAnswers has Redis know how the endpoint has answered.
func (s *Sender) noteAnswers(ctx context.Context) {
	if err := s.report.write(ctx); err != nil {
		s.told.warn("hook: noting how the endpoint answers", "err", err)
	}
}

// count takes what a request that began at begun has come to.
func (s *Sender) count(a Answer, begun time.Time) {
	s.met.requests.WithLabelValues(a.Verdict.String()).Inc()
	s.met.seconds.Observe(time.Since(begun).Seconds())
	if a.Verdict == Failed {
		s.met.failures.WithLabelValues(a.Why.String()).Inc()
	}
	s.report.note(a, time.Now())
}

// Close stops the Sender: requests under way may end, within 2 s, and its
// partitions are given back at once, for others to take. It returns when Run has
// ended, or ctx.
func (s *Sender) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.closeOnce.Do(func() { close(s.closing) })
	select {
	case <-s.closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("requests to the backend are under way: %w", ctx.Err())
	}
}

// Degraded says that the backend wants no events any more.
func (s *Sender) Degraded() []string {
	if s == nil || !s.gone.Load() {
		return nil
	}
	return []string{"hooks: the endpoint " + s.name + " answered 410 Gone; nothing is sent to it until the file of endpoints is changed, or this server started again"}
}

// Gone reports whether the endpoint wants no events any more.
func (s *Sender) Gone() bool { return s.gone.Load() }

// balance gives up partitions beyond this Sender's share, or takes free ones up
// to it.
func (s *Sender) balance(ctx context.Context) {
	live, err := s.join(ctx, s.timing.lease)
	switch {
	case err == nil:
		s.share = (len(s.homes) + live - 1) / max(1, live)
	case s.share == 0: // it has never been counted: leases keep it from others' partitions
		s.share = len(s.homes)
		fallthrough
	default:
		s.told.warn("hook: counting the senders", "err", err)
	}
	s.shed()
	away := make(map[*redisx.Shard]bool) // not to be asked for each of its partitions
	for _, i := range mrand.Perm(len(s.homes)) {
		if len(s.lanes) >= s.share || ctx.Err() != nil {
			return
		}
		if h := s.homes[i]; s.lanes[h] == nil && !away[h.shard] {
			away[h.shard] = !s.take(ctx, h)
		}
	}
}

// shed ends lanes beyond this Sender's share.
func (s *Sender) shed() {
	surplus := len(s.lanes) - s.share
	for _, l := range s.lanes {
		if l.stopped {
			surplus--
		}
	}
	for _, l := range s.lanes {
		if surplus <= 0 {
			return
		}
		if !l.stopped {
			l.stop()
			surplus--
		}
	}
}

// redisPatience bounds one word with Redis.
const redisPatience = time.Second

// take begins to send from h if it is free. It returns false when Redis did not
// say.
func (s *Sender) take(ctx context.Context, h *home) bool {
	begun := time.Now()
	call, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	epoch := h.shard.Epoch()
	st, err := h.take(call, s.self, s.timing.lease)
	if err != nil {
		s.told.warn("hook: taking a partition", "err", err)
		return false
	}
	if st.held {
		l := newLane(s, h, epoch)
		l.note(st, begun)
		s.lanes[h] = l
		s.met.held.Inc()
		go func() { l.run(ctx); s.ended <- l }()
	}
	return true
}

func (s *Sender) forget(l *lane) {
	if s.lanes[l.home] == l {
		delete(s.lanes, l.home)
		s.met.held.Dec()
	}
}

// stopAll ends every lane and waits for them.
func (s *Sender) stopAll() {
	for _, l := range s.lanes {
		l.stop()
	}
	for len(s.lanes) > 0 {
		s.forget(<-s.ended)
	}
}

// stopForGood is for an endpoint that wants no more events.
func (s *Sender) stopForGood(id string) {
	if s.gone.Swap(true) {
		return
	}
	s.met.gone.Set(1)
	s.log.Error("hook: the backend answered 410 Gone; it is sent nothing until the file of endpoints is changed, or this server started again", "id", id)
}

// join counts this Sender among those that share, for a period, and returns how
// many there are.
func (s *Sender) join(ctx context.Context, period time.Duration) (live int, err error) {
	call, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	err = s.lead.Write(call, func(ctx context.Context, c *redis.Client) error {
		live, err = joinScript.Run(ctx, c, []string{s.keys.Senders()}, s.self, period.Milliseconds()).Int()
		return err
	})
	return live, err
}

// leave has the others share without this Sender. If it fails, they do so when
// it counts no more.
func (s *Sender) leave(ctx context.Context) {
	if _, err := s.join(ctx, 0); err != nil {
		s.told.warn("hook: leaving the senders", "err", err)
	}
}

func (s *Sender) streamBytes() float64 { return s.sum(func(h *home) int64 { return h.bytes.Load() }) }

func (s *Sender) heldSubjects() float64 { return s.sum(func(h *home) int64 { return h.held.Load() }) }

func (s *Sender) sum(of func(*home) int64) (sum float64) {
	for _, h := range s.homes {
		sum += float64(of(h))
	}
	return sum
}

// oldest is the age in seconds of the oldest event, 0 when there is none.
func (s *Sender) oldest() float64 {
	var first int64
	for _, h := range s.homes {
		if at := h.oldest.Load(); at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	if first == 0 {
		return 0
	}
	return max(0, time.Since(time.UnixMilli(first)).Seconds())
}
