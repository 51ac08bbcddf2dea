package inbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// lookEvery is how often each shard's mark is looked at, besides when
	// a shard has changed.
	lookEvery = 5 * time.Second
	// layoutEvery is how often the layouts in use are noted.
	layoutEvery = time.Minute
	// layoutGrace is how long after its last note a layout may have been used.
	layoutGrace = 2*layoutEvery + lookEvery
	// birth is how far apart the marks of one new deployment may be made.
	birth = 10 * time.Second
)

// mark stands on every shard of the inboxes, and of the index as a witness. It
// says for whom the histories on the shard are whole. A shard without one has
// lost everything, or is new.
type mark struct {
	ID   string `json:"id"`             // drawn when the mark was made
	Made int64  `json:"made"`           // when that was
	Lost int64  `json:"lost,omitempty"` // what was stored before may be gone; 0: nothing was lost

	// Layouts are the lists of shards by which users were spread, the sorted
	// names joined by commas, with the time at which each was last in use. All
	// times are Unix milliseconds of the shard's clock.
	Layouts map[string]int64 `json:"layouts"`
}

// parseMark reads a mark; nil when there is none, or none that can be read.
func parseMark(text string) *mark {
	m := new(mark)
	if text == "" || json.Unmarshal([]byte(text), m) != nil {
		return nil
	}
	return m
}

func (m *mark) text() string {
	b, _ := json.Marshal(m) // strings and numbers always marshal
	return string(b)
}

// names reports whether a layout of m has the shard.
func (m *mark) names(shard string) bool {
	for layout := range m.Layouts {
		if slices.Contains(strings.Split(layout, ","), shard) {
			return true
		}
	}
	return false
}

// layoutOf is how a role's shards stand in a mark.
func layoutOf(role *redisx.Role) string {
	var names []string
	for _, s := range role.Shards() {
		names = append(names, s.Name())
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// history knows the marks. It remembers which it saw: what a shard has lost,
// only those can tell who knew it before.
type history struct {
	layout    string          // of this process
	before    string          // of its previous list; empty: it has none
	witnesses []*redisx.Shard // the inboxes' shards, and those of the index, which would remember

	looking sync.Mutex // held by one look at a time
	looked  time.Time  // when the last began

	mu    sync.Mutex
	known map[*redisx.Shard]memory
}

// memory is what this process remembers of one shard.
type memory struct {
	mark  *mark  // as seen last; nil: never
	epoch uint64 // at the first look that found a master
}

func newHistory(r *redisx.Redis) *history {
	h := &history{layout: layoutOf(r.Inbox), known: make(map[*redisx.Shard]memory)}
	if before := r.Inbox.Previous(); before != nil {
		h.before = layoutOf(before)
	}
	h.witnesses = slices.Clone(r.Inbox.All())
	for _, s := range r.Data.All() {
		if !slices.Contains(h.witnesses, s) {
			h.witnesses = append(h.witnesses, s)
		}
	}
	return h
}

// trusts reports whether m is not the work of somebody who did not know that
// the shard had been marked before.
func (h *history) trusts(s *redisx.Shard, m *mark) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known := h.known[s].mark
	return known == nil || known.ID == m.ID || m.Lost > 0
}

func (h *history) remember(s *redisx.Shard, m *mark) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.known[s]
	k.mark = m
	h.known[s] = k
}

// recall returns what is remembered of a shard, which begins now.
func (h *history) recall(s *redisx.Shard) memory {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.known[s]
	if k.epoch == 0 {
		k.epoch = s.Epoch()
		h.known[s] = k
	}
	return k
}

// sight is what one look found on a shard.
type sight struct {
	shard *redisx.Shard
	text  string // of the mark; empty: there is none
	mark  *mark  // nil: none, or none that can be read
	now   int64  // by the shard's clock
	err   error
}

// Run watches over the marks of the inboxes' shards until ctx ends: it makes
// those that are missing, and sees to it that a shard which has lost what it
// held says so. Without it Read does so when it meets such a shard, but a
// process then knows only what it has met.
func (in *Inbox) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	kick := make(chan struct{}, 1)
	for _, s := range in.history.witnesses {
		tasks.Go(func() { watch(ctx, s, kick) })
	}
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		in.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-kick:
		case <-every.C:
		}
	}
}

// watch kicks at every change of s.
func watch(ctx context.Context, s *redisx.Shard, kick chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Changed():
		}
		select {
		case kick <- struct{}{}:
		default:
		}
	}
}

// look reads every mark and mends what is wrong with it, unless somebody has
// done so since the time given.
func (in *Inbox) look(ctx context.Context, since time.Time) {
	h := in.history
	h.looking.Lock()
	defer h.looking.Unlock()
	if h.looked.After(since) {
		return
	}
	h.looked = time.Now()
	sights := make([]sight, len(h.witnesses))
	var reads sync.WaitGroup
	for i, s := range h.witnesses {
		reads.Go(func() { sights[i] = in.sight(ctx, s) })
	}
	reads.Wait()
	// What is missing is made first: a new layout is named where all its
	// shards are marked.
	for _, missing := range []bool{true, false} {
		for i := range sights {
			if s := &sights[i]; s.err == nil && (s.mark == nil) == missing {
				in.mend(ctx, s, sights)
			}
		}
	}
}

// sight reads one mark.
func (in *Inbox) sight(ctx context.Context, shard *redisx.Shard) sight {
	in.history.recall(shard)
	s := sight{shard: shard}
	s.err = shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		tx := c.TxPipeline()
		now, text := tx.Time(ctx), tx.Get(ctx, in.keys.InboxMark())
		if _, err := tx.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		s.now, s.text = now.Val().UnixMilli(), text.Val()
		return nil
	})
	s.mark = parseMark(s.text)
	return s
}

// mend writes the mark of one shard if it must be another, and remembers the
// one that stands.
func (in *Inbox) mend(ctx context.Context, s *sight, all []sight) {
	h := in.history
	if m := h.revise(s, all); m != nil {
		lost := m.Lost != 0 && (s.mark == nil || s.mark.Lost != m.Lost)
		if !in.write(ctx, s, m) {
			return // the next look finds it again
		}
		if lost && s.text == m.text() { // else somebody else was first
			in.metrics.lost.WithLabelValues(s.shard.Name()).Inc()
			in.log.Error("an inbox shard has lost what it held", "shard", s.shard.Name())
		}
	}
	if s.mark != nil && h.trusts(s.shard, s.mark) && in.copied(ctx, s) {
		h.remember(s.shard, s.mark)
	}
}

// write puts m in place of the mark that s found, and has s find what stands
// then. It reports whether that is known.
func (in *Inbox) write(ctx context.Context, s *sight, m *mark) bool {
	s.err = s.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		s.text, err = markScript.Run(ctx, c, []string{in.keys.InboxMark()}, s.text, m.text()).Text()
		return err
	})
	if s.err != nil {
		in.metrics.failures.WithLabelValues(opMark).Inc()
		return false
	}
	s.mark = parseMark(s.text)
	return true
}

// copied waits until a failover keeps the mark of s, if this process does not
// know it yet: one that was never copied is not missed.
func (in *Inbox) copied(ctx context.Context, s *sight) bool {
	if known := in.history.recall(s.shard).mark; known != nil && known.ID == s.mark.ID {
		return true
	}
	_, err := s.shard.WriteCopied(ctx, copyWait, func(redis.Pipeliner) {})
	return err == nil
}

// revise returns the mark that must stand in place of the one that s found, or
// nil when that is right or nobody can tell.
func (h *history) revise(s *sight, all []sight) *mark {
	m := mark{ID: rand.Text(), Made: s.now}
	changed := false
	switch {
	case s.mark == nil:
		lost, sure := h.fate(s, all)
		if !sure {
			return nil
		}
		if lost {
			m.Lost = s.now
		}
		changed = true
	case !h.trusts(s.shard, s.mark):
		m = *s.mark
		m.Lost, changed = s.now, true
	default:
		m = *s.mark
	}
	m.Layouts = h.layouts(s, all)
	if !changed && maps.Equal(m.Layouts, s.mark.Layouts) {
		return nil
	}
	return &m
}

// layouts are those that the mark of s must name: those of all marks, and ours.
func (h *history) layouts(s *sight, all []sight) map[string]int64 {
	sum := make(map[string]int64)
	if s.mark != nil {
		maps.Copy(sum, s.mark.Layouts)
	}
	for i := range all {
		if all[i].mark == nil {
			continue
		}
		for layout, used := range all[i].mark.Layouts {
			if sum[layout] == 0 {
				sum[layout] = used
			}
		}
	}
	if h.before != "" && sum[h.before] == 0 {
		sum[h.before] = s.now // the marks are younger than the deployment
	}
	if used := sum[h.layout]; used == 0 && h.marked(s, all) || used != 0 && s.now-used > layoutEvery.Milliseconds() {
		sum[h.layout] = s.now
	}
	maps.DeleteFunc(sum, func(_ string, used int64) bool {
		return used+hub.MaxStore.Milliseconds()+layoutGrace.Milliseconds() < s.now
	})
	return sum
}

// marked reports whether all shards of our layout have a mark, but for that of
// s. The layout is named only then: who finds one of them without a mark later
// must know whether it is new.
func (h *history) marked(s *sight, all []sight) bool {
	return !slices.ContainsFunc(all, func(o sight) bool {
		return o.mark == nil && o.shard != s.shard && slices.Contains(strings.Split(h.layout, ","), o.shard.Name())
	})
}

// fate says whether a shard without a mark has lost what it held, or is new;
// sure is false when nobody can tell yet.
func (h *history) fate(s *sight, all []sight) (lost, sure bool) {
	if k := h.recall(s.shard); k.mark != nil || k.epoch != s.shard.Epoch() || s.text != "" {
		return true, true
	}
	known, unknown := false, false
	for i := range all {
		switch o := &all[i]; {
		case o.shard == s.shard:
		case o.mark == nil && o.err != nil:
			unknown = true
		case o.mark == nil:
		case o.mark.names(s.shard.Name()) && (o.mark.Lost != 0 || o.now-o.mark.Made > birth.Milliseconds()):
			return true, true // it was there before
		default:
			known = true
		}
	}
	return false, known || !unknown
}

// whole reports whether the marks vouch for everything that was stored for
// user after the position seen, or for all of it when that is 0. homes are
// where user's inbox was read, the present home last.
func (in *Inbox) whole(user string, homes []*snapshot, seen int64) bool {
	for _, s := range homes {
		m := s.mark
		if m == nil || !in.history.trusts(s.shard, m) {
			return false
		}
		if m.Lost > max(s.seen, s.now-in.cfg.MaxAge.Milliseconds()) {
			return false
		}
	}
	home := homes[len(homes)-1]
	since := max(seen, home.now-in.cfg.MaxAge.Milliseconds())
	for layout, used := range home.mark.Layouts {
		if used+layoutGrace.Milliseconds() < since {
			continue
		}
		name := redisx.Home(strings.Split(layout, ","), user)
		if !slices.ContainsFunc(homes, func(s *snapshot) bool { return s.shard.Name() == name }) {
			return false // some of it was stored where nobody has looked
		}
	}
	return true
}
