package match

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/homing/homing/hub"
)

// Nearest is the Function that lets each ticket, oldest first, play with those of
// the nearest ratings that accept it and that it accepts.
//
// It looks at a bounded number of others for each ticket, so its cost grows with
// the number of tickets, not with that of their combinations. It does not look at
// those that would not accept the ticket for its rating: one that nobody is near
// finds the few that have waited for long among the many that have not.
type Nearest struct{}

// lookAt is how many others are looked at for each player of a match.
const lookAt = 16

// candidate is a ticket that waits.
type candidate struct {
	*Ticket

	step  *Step
	taken bool
	met   int // the look at which it was met last
}

// pool is the tickets of one label that accept the same, by rating.
type pool struct {
	step *Step
	by   []*place
}

// place is a ticket in one of its pools.
type place struct {
	*candidate

	next, before int // the nearest places that are not taken, as far as is known
}

// Match is Function.Match. It does not change what it is given.
func (Nearest) Match(q *Queue, now time.Time, waiting []*Ticket, lacking []*Backfill) []Match {
	r := newRound(q, now, waiting)
	var found []Match
	for _, b := range oldestFirst(lacking, func(b *Backfill) time.Time { return b.Since }, func(b *Backfill) string { return b.Room }) {
		if m, ok := r.fill(b, now); ok {
			found = append(found, m)
		}
	}
	for _, c := range r.oldest {
		if m, ok := r.seed(c); ok {
			found = append(found, m)
		}
	}
	return found
}

// round is one call of Match.
type round struct {
	queue  *Queue
	oldest []*candidate
	pools  map[string][]*pool // by label
	all    []*pool
	looks  int
}

func newRound(q *Queue, now time.Time, waiting []*Ticket) *round {
	r := &round{queue: q, pools: make(map[string][]*pool)}
	for _, t := range oldestFirst(waiting, func(t *Ticket) time.Time { return t.Since }, func(t *Ticket) string { return t.ID }) {
		c := &candidate{Ticket: t, step: q.step(now.Sub(t.Since))}
		r.oldest = append(r.oldest, c)
		r.all = enter(r.all, c)
		for _, l := range labelsOf(t.Labels) {
			r.pools[l] = enter(r.pools[l], c)
		}
	}
	sortAll(r.all)
	for _, pools := range r.pools {
		sortAll(pools)
	}
	return r
}

// enter adds c to the one of pools that is of its step.
func enter(pools []*pool, c *candidate) []*pool {
	i := slices.IndexFunc(pools, func(p *pool) bool { return p.step == c.step })
	if i < 0 {
		i = len(pools)
		pools = append(pools, &pool{step: c.step})
	}
	pools[i].by = append(pools[i].by, &place{candidate: c})
	return pools
}

func sortAll(pools []*pool) {
	for _, p := range pools {
		slices.SortStableFunc(p.by, func(a, b *place) int { return cmp.Compare(a.Rating, b.Rating) })
		for i, x := range p.by {
			x.next, x.before = i+1, i-1
		}
	}
}

func labelsOf(labels []string) []string {
	if len(labels) == 0 {
		return []string{labelOfNobody}
	}
	return labels
}

func oldestFirst[T any](all []T, since func(T) time.Time, id func(T) string) []T {
	return slices.SortedFunc(slices.Values(all), func(a, b T) int {
		return cmp.Or(since(a).Compare(since(b)), cmp.Compare(id(a), id(b)))
	})
}

// walk goes over one pool from a rating on, nearest first, as far as its tickets
// accept that rating.
type walk struct {
	*pool

	rating   float64
	up, down int // the next places
}

func (p *pool) walk(rating float64) *walk {
	up, _ := slices.BinarySearchFunc(p.by, rating, func(x *place, r float64) int { return cmp.Compare(x.Rating, r) })
	return &walk{pool: p, rating: rating, up: p.free(up, 1), down: p.free(up-1, -1)}
}

// distance is how far the next one is; infinite: there is none.
func (w *walk) distance() float64 {
	d := math.Inf(1)
	if w.up < len(w.by) {
		d = w.by[w.up].Rating - w.rating
	}
	if w.down >= 0 {
		d = min(d, w.rating-w.by[w.down].Rating)
	}
	if d > windowOf(w.step) {
		return math.Inf(1)
	}
	return d
}

// take takes the next one.
func (w *walk) take() *candidate {
	if w.down < 0 || w.up < len(w.by) && w.by[w.up].Rating-w.rating <= w.rating-w.by[w.down].Rating {
		c := w.by[w.up].candidate
		w.up = w.free(w.up+1, 1)
		return c
	}
	c := w.by[w.down].candidate
	w.down = w.free(w.down-1, -1)
	return c
}

// free returns the first place from i on, in a direction, that is not taken. It
// remembers the way, so that nobody walks over the same gap again and again.
func (p *pool) free(i, direction int) int {
	start := i
	for i >= 0 && i < len(p.by) && p.by[i].taken {
		if direction > 0 {
			i = p.by[i].next
		} else {
			i = p.by[i].before
		}
	}
	for start != i && start >= 0 && start < len(p.by) {
		x := p.by[start]
		if direction > 0 {
			start, x.next = x.next, i
		} else {
			start, x.before = x.before, i
		}
	}
	return i
}

// party is a match in the making.
type party struct {
	queue    *Queue
	members  []*candidate
	teams    []int // of the members, as they found room
	players  int
	room     []int // free seats by team
	least    int   // players that all of its members ask for
	window   float64
	min, max float64 // ratings
}

func newParty(q *Queue) *party {
	p := &party{queue: q, window: math.Inf(1), min: math.Inf(1), max: math.Inf(-1)}
	p.room = q.free()
	return p
}

// take adds c if everybody accepts everybody then, and a team has room for it.
func (p *party) take(c *candidate) {
	window := min(p.window, windowOf(c.step))
	low, high := min(p.min, c.Rating), max(p.max, c.Rating)
	if high-low > window {
		return
	}
	team := p.tightest(len(c.Players))
	if team < 0 {
		return
	}
	p.room[team] -= len(c.Players)
	p.members, p.teams = append(p.members, c), append(p.teams, team)
	p.players += len(c.Players)
	p.window, p.min, p.max, p.least = window, low, high, max(p.least, p.queue.leastOf(c.step))
}

// tightest is the team with the least room for n players, so that large parties
// find room later; -1: there is none.
func (p *party) tightest(n int) int {
	best := -1
	for i, room := range p.room {
		if room >= n && (best < 0 || room < p.room[best]) {
			best = i
		}
	}
	return best
}

// full reports whether no more fits.
func (p *party) full() bool { return slices.Max(p.room) == 0 }

func windowOf(s *Step) float64 {
	if s.Window == 0 {
		return math.Inf(1)
	}
	return s.Window
}

// leastOf is how many players a ticket asks for at this step.
func (q *Queue) leastOf(s *Step) int {
	if s.Players == 0 {
		return q.players()
	}
	return s.Players
}

// seed makes a match around c, if there is one.
func (r *round) seed(c *candidate) (Match, bool) {
	if c.taken {
		return Match{}, false
	}
	for asks := r.queue.players(); ; {
		p := r.gather(c, asks)
		teams := p.balance(r.queue.free())
		empty := slices.ContainsFunc(teams, func(t []*Ticket) bool { return len(t) == 0 })
		switch {
		case p.players >= p.least && !empty:
			return p.match(nil, teams), true
		case r.queue.leastOf(c.step) > p.players || p.least <= r.queue.leastOf(c.step):
			return Match{}, false
		}
		asks = p.least - 1 // without those who ask for more than there are
	}
}

// gather takes those around c who accept each other and ask for so many players
// at most.
func (r *round) gather(c *candidate, asks int) *party {
	p := newParty(r.queue)
	p.take(c)
	r.looks++
	c.met = r.looks
	r.among(c.Labels, c.step.AnyLabel, c.Rating, func(x *candidate) bool {
		if x.met != r.looks && r.queue.leastOf(x.step) <= asks && agree(c, x) && p.accepts(x) {
			p.take(x)
		}
		x.met = r.looks
		return !p.full()
	})
	return p
}

// free is the seats of each team of a new match.
func (q *Queue) free() []int {
	free := make([]int, q.Teams)
	for i := range free {
		free[i] = q.TeamSize
	}
	return free
}

// accepts reports whether x may play with all members, as far as labels go. Nobody
// plays with himself.
func (p *party) accepts(x *candidate) bool {
	return !slices.ContainsFunc(p.members, func(m *candidate) bool {
		same := func(u hub.UserID) bool { return slices.Contains(m.Players, u) }
		return !agree(m, x) || slices.ContainsFunc(x.Players, same)
	})
}

// agree reports whether two tickets share a label, or both do not mind.
func agree(a, b *candidate) bool {
	return a.step.AnyLabel && b.step.AnyLabel || share(a.Labels, b.Labels)
}

func share(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(l string) bool { return slices.Contains(b, l) })
}

// among yields those near a rating that share a label, or all: nearest first, a
// bounded number, one perhaps several times.
func (r *round) among(labels []string, all bool, rating float64, yield func(*candidate) bool) {
	var walks []*walk
	enter := func(pools []*pool) {
		for _, p := range pools {
			walks = append(walks, p.walk(rating))
		}
	}
	for _, l := range labelsOf(labels) {
		enter(r.pools[l])
	}
	if all { // those of other labels must not mind either
		enter(slices.DeleteFunc(slices.Clone(r.all), func(p *pool) bool { return !p.step.AnyLabel }))
	}
	for range lookAt * r.queue.players() {
		var next *walk
		least := math.Inf(1)
		for _, w := range walks {
			if d := w.distance(); d < least {
				next, least = w, d
			}
		}
		if next == nil || !yield(next.take()) {
			return
		}
	}
}

// fill finds tickets for a room that lacks players, oldest first among those that
// are near enough, at most one for each seat.
func (r *round) fill(b *Backfill, now time.Time) (Match, bool) {
	p := newParty(r.queue)
	p.room = slices.Clone(b.Free)
	if len(p.room) == 0 {
		return Match{}, false
	}
	step := r.queue.step(now.Sub(b.Since))
	room := &candidate{Ticket: &Ticket{Rating: b.Rating, Labels: b.Labels}, step: step}
	p.window, p.min, p.max = windowOf(step), b.Rating, b.Rating
	r.looks++
	var near []*candidate
	r.among(b.Labels, step.AnyLabel, b.Rating, func(x *candidate) bool {
		if x.met != r.looks && agree(room, x) {
			near = append(near, x)
		}
		x.met = r.looks
		return true
	})
	slices.SortStableFunc(near, func(a, b *candidate) int { return a.Since.Compare(b.Since) })
	for _, x := range near {
		if !p.full() && p.accepts(x) {
			p.take(x)
		}
	}
	if len(p.members) == 0 {
		return Match{}, false
	}
	return p.match(b, p.balance(b.Free)), true
}

// match takes the members out of the round.
func (p *party) match(b *Backfill, teams [][]*Ticket) Match {
	m := Match{Backfill: b, Teams: teams}
	for _, c := range p.members {
		c.taken = true
		m.Tickets = append(m.Tickets, c.Ticket)
	}
	slices.SortStableFunc(m.Tickets, func(a, b *Ticket) int { return a.Since.Compare(b.Since) })
	return m
}

// balance deals the members out to teams with so many free seats: large parties
// first, each to the team with the most room, of several to the weakest. Where that
// leaves one without room, they are in the teams in which they found it.
func (p *party) balance(free []int) [][]*Ticket {
	largest := slices.SortedStableFunc(slices.Values(p.members), func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(len(b.Players), len(a.Players)), cmp.Compare(b.Rating, a.Rating))
	})
	room, strength := slices.Clone(free), make([]float64, len(free))
	teams := make([][]*Ticket, len(free))
	for _, c := range largest {
		i := roomiest(room, strength, len(c.Players))
		if i < 0 {
			return p.asFound()
		}
		room[i] -= len(c.Players)
		strength[i] += c.Rating * float64(len(c.Players))
		teams[i] = append(teams[i], c.Ticket)
	}
	return teams
}

// roomiest is the team with the most room for n players, of several the weakest;
// -1: there is none.
func roomiest(room []int, strength []float64, n int) int {
	best := -1
	for i := range room {
		if room[i] >= n && (best < 0 || room[i] > room[best] || room[i] == room[best] && strength[i] < strength[best]) {
			best = i
		}
	}
	return best
}

func (p *party) asFound() [][]*Ticket {
	teams := make([][]*Ticket, len(p.room))
	for i, c := range p.members {
		teams[p.teams[i]] = append(teams[p.teams[i]], c.Ticket)
	}
	return teams
}
