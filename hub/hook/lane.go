package hook

import (
	"context"
	mrand "math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// heldMost is how many subjects of a partition may be failing or under way, or
	// twice as many as a batch takes events. Beyond it nothing further is begun
	// there but their tries, and nothing further is read: so much has gone wrong
	// that the backend is taken to be away.
	//bound:hook-held
	heldMost = 64
	// scanEntries is how many entries are listed at a time, and scanAhead how many
	// subjects may be ready before more are.
	scanEntries = 128
	scanAhead   = 128
	// awayAfter is how many failures in a row of one partition count as the
	// backend being away. Its first success then has all subjects tried again soon.
	awayAfter = 8
	// soon spreads those tries.
	soon = time.Second
)

// lane sends the events of one partition, as long as its lease stands. One
// goroutine owns it, and starts others for the requests.
//
// It lists entries in order and knows each as a ref, so that what it remembers is
// bounded by what the stream may hold.
type lane struct {
	*home
	s     *Sender
	epoch uint64 // of the shard, when the lease was taken
	stops chan struct{}
	until atomic.Pointer[time.Time] // the lease stands; written by run
	clock atomic.Pointer[reading]   // of the shard; written by run

	// Owned by the Sender.
	stopped bool

	// Owned by run.
	cursor   string    // the last entry that was listed; "": none
	looks    time.Time // when to list again
	renews   time.Time // when to renew the lease
	subjects map[string]*subject
	ready    []*subject // to be started, in order
	failing  []*parcel  // to be started later
	busy     int        // subjects that are failing or under way
	most     int        // that may be
	inFlight int        // parcels
	failures int        // in a row
	lost     bool       // somebody else has the lease, or nothing is to be sent
	results  chan result
}

// subject is one whose events wait. It is ready, or part of a parcel that is failing
// or under way.
type subject struct {
	name    string
	entries []ref // in order; the first are under way or next
}

func newLane(s *Sender, h *home, epoch uint64) *lane {
	most := max(heldMost, 2*s.cfg.Batch)
	return &lane{
		home: h, s: s, epoch: epoch, stops: make(chan struct{}),
		subjects: make(map[string]*subject), results: make(chan result, most), most: most,
	}
}

// stop asks the lane to end. It does not wait. The Sender calls it.
func (l *lane) stop() {
	if !l.stopped {
		l.stopped = true
		close(l.stops)
	}
}

// lapsed reports whether the lease may be another's by now.
func (l *lane) lapsed() bool { return l.left() <= 0 }

// left is for how long the lease stands.
func (l *lane) left() time.Duration { return time.Until(*l.until.Load()) }

// note takes what a renewal found. asked is when it was asked for: the lease
// stands for its period from then on at least.
func (l *lane) note(st standing, asked time.Time) {
	until := asked.Add(l.s.timing.lease)
	l.until.Store(&until)
	l.renews = asked.Add(l.s.timing.renew)
	l.bytes.Store(st.bytes)
	l.oldest.Store(st.oldest)
	l.clock.Store(&reading{time.UnixMilli(st.now), asked})
}

// reading is what the shard's clock said at a moment.
type reading struct{ said, at time.Time }

// age is for how long e has been tried, as the clock has it that says less: the shard's,
// or this process's, which knows when e was published. So no clock that jumps, at one of
// them or at who published e, has it given up.
func (l *lane) age(e *stored) time.Duration {
	r := l.clock.Load()
	return min(time.Since(e.at), r.said.Add(time.Since(r.at)).Sub(e.taken))
}

// run sends until the lease is lost, the lane is stopped or ctx ends.
func (l *lane) run(ctx context.Context) {
	leased, cancel := context.WithCancel(ctx)
	defer cancel()
	// While this goroutine waits for Redis, nothing may be sent past the lease.
	expiry := time.AfterFunc(l.left(), cancel)
	defer expiry.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for l.tend(leased) {
		expiry.Reset(l.left())
		l.start(leased)
		timer.Reset(time.Until(l.wakes()))
		select {
		case <-leased.Done():
		case <-l.stops:
		case r := <-l.results:
			l.settle(r, time.Now())
		case <-timer.C:
		}
	}
	l.end(ctx, cancel)
}

// tend renews the lease and lists entries when it is time. It returns false when
// the lane is to end.
func (l *lane) tend(ctx context.Context) bool {
	select {
	case <-l.stops:
		return false
	default:
	}
	now := time.Now()
	switch {
	case ctx.Err() != nil || l.lost || l.lapsed():
		return false
	case l.shard.Epoch() != l.epoch:
		return false // a failover may have brought back what was removed: begin anew
	case !now.Before(l.renews) && !l.renew(ctx):
		return false
	}
	if !now.Before(l.looks) && l.hungry() {
		l.look(ctx, now)
	}
	return true
}

// hungry reports whether further entries are to be listed.
func (l *lane) hungry() bool { return len(l.ready) < scanAhead && l.busy < l.most }

// renew returns false when somebody else has the lease.
func (l *lane) renew(ctx context.Context) bool {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	st, err := l.take(ctx, l.s.self, l.s.timing.lease)
	if err != nil {
		l.s.told.warn("hook: renewing a lease", "err", err)
		l.renews = asked.Add(l.s.timing.renew / 4)
		return true // it may stand still
	}
	if st.held {
		l.note(st, asked)
	}
	return st.held
}

// look lists entries after those that are known.
func (l *lane) look(ctx context.Context, now time.Time) {
	l.looks = now.Add(l.s.timing.poll)
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if l.before != nil {
		if empty, err := l.before.empty(ctx); err != nil || !empty {
			return
		}
	}
	if len(l.subjects) == 0 {
		l.cursor = "" // whatever stands there was not removed
	}
	refs, more, err := l.scan(ctx, l.cursor, scanEntries)
	if err != nil {
		l.s.told.warn("hook: listing events", "err", err)
		return
	}
	for _, r := range refs {
		l.cursor = r.entry
		l.enter(r)
	}
	if more {
		l.looks = now
	}
}

// enter puts an entry behind the others of its subject.
func (l *lane) enter(r ref) {
	s := l.subjects[r.subject]
	if s == nil {
		s = &subject{name: r.subject}
		l.subjects[r.subject] = s
		l.ready = append(l.ready, s)
	}
	s.entries = append(s.entries, r)
}

// start begins tries: of failing parcels whose time has come, then of others as
// long as not too many subjects are failing or under way.
func (l *lane) start(ctx context.Context) {
	now := time.Now()
	l.failing = slices.DeleteFunc(l.failing, func(p *parcel) bool {
		due := !now.Before(p.next)
		if due {
			l.try(ctx, p)
		}
		return due
	})
	for len(l.ready) > 0 && l.busy < l.most {
		l.try(ctx, l.pack())
	}
	held := 0
	for _, p := range l.failing {
		held += len(p.parts)
	}
	l.held.Store(int64(held))
}

// pack makes a parcel of the first that are ready, of which there must be one.
func (l *lane) pack() *parcel {
	p := &parcel{}
	events, bytes := max(1, l.s.cfg.Batch), maxParcel
	for len(l.ready) > 0 && events > 0 && l.busy < l.most {
		var ok bool
		if events, bytes, ok = p.take(l.ready[0], events, bytes); !ok {
			break
		}
		l.ready = l.ready[1:]
		l.busy++
	}
	return p
}

func (l *lane) try(ctx context.Context, p *parcel) {
	l.inFlight++
	entries := p.entries()
	go func() { l.results <- l.deliver(ctx, p, entries) }()
}

// wakes is when there is something to do at the latest.
func (l *lane) wakes() time.Time {
	at := l.renews
	if l.hungry() && l.looks.Before(at) {
		at = l.looks
	}
	for _, p := range l.failing {
		if p.next.Before(at) {
			at = p.next
		}
	}
	return at
}

// settle takes the result of a try.
func (l *lane) settle(r result, now time.Time) {
	l.inFlight--
	p := r.parcel
	if r.outcome == outcomeReleased {
		l.lost = true
		return
	}
	l.drain(r)
	switch r.outcome {
	case outcomeFailed:
		l.failures++
		if len(p.parts) > 0 {
			l.hold(p, now, r)
		}
	case outcomeDone:
		l.recover(now)
	case outcomeSkipped, outcomeReleased:
	}
}

// drain takes the entries that are out from their subjects, and the subjects of
// which the parcel then has nothing out of it.
func (l *lane) drain(r result) {
	left := r.parcel.parts[:0]
	for _, part := range r.parcel.parts {
		s := part.subject
		before := len(s.entries)
		s.entries = slices.DeleteFunc(s.entries, func(e ref) bool { return r.out[e.entry] })
		if part.n -= before - len(s.entries); part.n > 0 {
			left = append(left, part)
			continue
		}
		l.busy--
		if len(s.entries) == 0 {
			delete(l.subjects, s.name)
		} else {
			l.ready = append(l.ready, s)
		}
	}
	r.parcel.parts = left
}

// hold has a parcel that failed tried again later. One that the endpoint has not
// taken goes in halves; when it cannot be divided further its pauses grow.
func (l *lane) hold(p *parcel, now time.Time, r result) {
	p.notBefore = now.Add(r.after)
	parcels, divided := []*parcel{p}, false
	if r.posted {
		parcels, divided = p.split()
	}
	for _, p := range parcels {
		if p.attempts++; divided {
			p.attempts = 1
		}
		p.next = later(now.Add(l.s.timing.pause(p.attempts)), p.notBefore)
		l.failing = append(l.failing, p)
	}
}

// recover has failing subjects tried again soon when the backend is back.
func (l *lane) recover(now time.Time) {
	away := l.failures >= awayAfter
	l.failures = 0
	if !away {
		return
	}
	for _, p := range l.failing {
		if at := later(now.Add(mrand.N(soon)), p.notBefore); at.Before(p.next) {
			p.next = at
		}
	}
}

// end waits for the tries that are under way, for a moment, and gives the lease
// back.
func (l *lane) end(ctx context.Context, cancel context.CancelFunc) {
	grace := time.AfterFunc(min(l.s.timing.grace, max(0, l.left())), cancel)
	defer grace.Stop()
	for ; l.inFlight > 0; l.inFlight-- {
		<-l.results
	}
	l.bytes.Store(0)
	l.oldest.Store(0)
	l.held.Store(0)
	if ctx.Err() != nil {
		return // the lease lapses
	}
	ctx, stop := context.WithTimeout(ctx, redisPatience)
	defer stop()
	if err := l.release(ctx, l.s.self); err != nil {
		l.s.told.warn("hook: giving a lease back", "err", err)
	}
}

// pause is how long to wait after so many failures: a second, doubled by each up to
// a minute, and by chance up to half of it less.
func (t *timing) pause(attempts int) time.Duration {
	d := t.most
	if shift := attempts - 1; shift < 20 {
		d = min(t.most, t.first<<shift)
	}
	return d - mrand.N(d/2+1)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
