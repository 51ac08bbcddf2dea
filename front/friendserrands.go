package front

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/presence"
)

const (
	// friendErrands is how many look-ups of friends wait for one of
	// friendWorkers; those of more users wait with their circles.
	friendErrands = 1024
	friendWorkers = 4
	// friendBatch is how many are made together.
	friendBatch   = 16
	friendTimeout = 5 * time.Second
)

// errand is a look-up of a user's friends, and what they are told.
//
//bound:friend-errands
type errand struct {
	circle *circle
	user   hub.UserID
	names  string
	told   string
	known  bool
	first  bool // it was never known who the friends are
	tell   *presence.News
	greet  []*conn

	online []presence.Friend
	err    error
}

// due reports whether there is something to be done for x.
func (x *circle) due() bool {
	return x.tell != nil || len(x.greet) > 0 || x.stale || x.known && x.names != x.told
}

// start begins what is to be done for x, unless something is under way already: then
// it is done after that. Who has just come is told of to its friends once its client
// was greeted: one look-up serves both.
func (f *friends) start(x *circle) {
	switch c := f.sessions.users.newest[x.user]; {
	case x.busy || x.again > f.loop.Now():
		return
	case x.known && !x.stale && x.names == "" && x.told == "":
		f.settle(x.tell)
		greet := x.greet
		x.greet, x.tell = nil, nil
		f.befriend(x, greet, nil)
	case x.greetsSoon(c):
		return
	}
	if !x.due() {
		if x.left && f.circles[x.user] == x {
			delete(f.circles, x.user)
		}
		return
	}
	x.busy = true
	e := x.errand()
	select {
	case f.errands <- e:
		x.tell, x.greet, x.stale = nil, nil, false
	default:
		f.waiting = append(f.waiting, x)
	}
}

// greetsSoon reports whether c, the newest connection of x's user, is about to be
// greeted, and nobody is now: what is to be told waits for that.
func (x *circle) greetsSoon(c *conn) bool {
	return x.tell != nil && x.tell.Online && len(x.greet) == 0 && c != nil && c.State.stage == stageRegister
}

// errand is what is to be done for x.
func (x *circle) errand() *errand {
	return &errand{
		circle: x, user: x.user, names: x.names, told: x.told, known: x.known && !x.stale, first: !x.known,
		tell: x.tell, greet: x.greet,
	}
}

// settle says that friends have heard news.
func (f *friends) settle(news *presence.News) {
	if news != nil {
		f.host.Heard(news.User, news.Online)
	}
}

// run carries errands out until ctx ends: those that wait together.
func (f *friends) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-f.errands:
			batch := f.batch(e)
			f.carryOut(ctx, batch)
			f.news.mu.Lock()
			f.news.done = append(f.news.done, batch...)
			f.news.mu.Unlock()
			f.loop.Wake()
		}
	}
}

// batch is e and the errands that wait behind it.
func (f *friends) batch(e *errand) []*errand {
	batch := []*errand{e}
	for len(batch) < friendBatch {
		select {
		case e := <-f.errands:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// errInDoubt is why nothing is told by a process that others may take for dead: they
// may have told the end of its users.
var errInDoubt = errors.New("the worker is not in good standing")

// carryOut does all errands of batch, and notes what came of each.
func (f *friends) carryOut(ctx context.Context, batch []*errand) {
	ctx, cancel := context.WithTimeout(ctx, friendTimeout)
	defer cancel()
	var meetings []*presence.Meeting
	var of []*errand
	for _, e := range batch {
		if e.err = e.read(ctx, f.host); e.err != nil {
			continue
		}
		if m := e.meeting(); m != nil {
			meetings, of = append(meetings, m), append(of, e)
		}
	}
	if len(meetings) == 0 {
		return
	}
	if !f.mayTell() {
		for _, e := range of {
			e.err = errInDoubt
		}
		return
	}
	f.host.Meet(ctx, meetings)
	for i, e := range of {
		e.err = meetings[i].Err
		e.online = e.friendsOf(meetings[i].Online)
	}
}

// read finds out who the friends are.
func (e *errand) read(ctx context.Context, host Friends) error {
	if e.known {
		return nil
	}
	stored, err := host.Stored(ctx, e.user)
	if err != nil {
		return err
	}
	e.names, e.known = joinFriends(e.user, stored), true
	if e.first {
		e.told = e.names
	}
	return nil
}

// meeting is what e asks, and has told; nil: nothing.
func (e *errand) meeting() *presence.Meeting {
	m := &presence.Meeting{User: e.user, Friends: splitFriends(e.names)}
	if e.names == e.told {
		if e.tell != nil {
			m.Tell = []presence.Tell{{News: *e.tell}}
		}
		if len(m.Friends) == 0 {
			return nil
		}
		return m
	}
	now, before := set(m.Friends), set(splitFriends(e.told))
	for u := range before {
		if !now[u] {
			m.Friends = append(m.Friends, u)
		}
	}
	m.Tell = e.changes(now, before)
	return m
}

// changes are what is told where the list of friends has changed from before to now.
// Who is no friend any more hears that the user has gone.
func (e *errand) changes(now, before map[hub.UserID]bool) []presence.Tell {
	removed, added := without(before, now), without(now, before)
	switch {
	case e.tell == nil:
		return []presence.Tell{
			{News: presence.News{User: e.user, Online: true}, To: added},
			{News: presence.News{User: e.user}, To: removed},
		}
	case e.tell.Online:
		return []presence.Tell{
			{News: *e.tell, To: now},
			{News: presence.News{User: e.user, At: e.tell.At}, To: removed},
		}
	}
	return []presence.Tell{{News: *e.tell}}
}

func set(list []hub.UserID) map[hub.UserID]bool {
	s := make(map[hub.UserID]bool, len(list))
	for _, u := range list {
		s[u] = true
	}
	return s
}

func without(a, b map[hub.UserID]bool) map[hub.UserID]bool {
	s := make(map[hub.UserID]bool)
	for u := range a {
		if !b[u] {
			s[u] = true
		}
	}
	return s
}

// friendsOf leaves out who is no friend any more.
func (e *errand) friendsOf(online []presence.Friend) []presence.Friend {
	if e.names == e.told {
		return online
	}
	now := set(splitFriends(e.names))
	return slices.DeleteFunc(online, func(o presence.Friend) bool { return !now[o.User] })
}

// returned takes what came of an errand.
func (f *friends) returned(e *errand) {
	x := e.circle
	x.busy = false
	if e.known && (!x.known || x.stored) && !x.stale {
		x.list(e.names)
	}
	if e.err == nil {
		f.settle(e.tell)
		f.befriend(x, e.greet, e.online)
		x.told = e.names
	} else {
		x.again = f.loop.Now() + friendRetry
		x.greet = append(e.greet, x.greet...)
		x.stale = x.stale || !e.known
		if x.tell == nil {
			x.tell = e.tell
		}
		f.failed = append(f.failed, x)
	}
	f.touched = append(f.touched, x)
}

// TellGone tells the friends of those who have gone with this worker: Moved has named
// them after the end of Run, when the index let go of them. It blocks until that is
// done or ctx ends. Moved must not be called any more.
func (w *Worker) TellGone(ctx context.Context) {
	f := w.friends
	if f == nil {
		return
	}
	moves, done := f.take()
	f.unfinished(done)
	for i := range moves {
		f.moved(&moves[i])
	}
	work := make(chan []*errand)
	var workers sync.WaitGroup
	for range friendWorkers {
		workers.Go(func() {
			for batch := range work {
				f.tellGone(ctx, batch)
			}
		})
	}
	var last []*errand
	for _, x := range f.circles {
		if x.tell != nil && !x.tell.Online {
			last = append(last, x.errand())
		}
	}
	for batch := range slices.Chunk(last, friendBatch) {
		work <- batch
	}
	close(work)
	workers.Wait()
}

func (f *friends) tellGone(ctx context.Context, batch []*errand) {
	f.carryOut(ctx, batch)
	for _, e := range batch {
		if e.err != nil {
			f.m.presenceDropped.Inc()
		} else {
			f.settle(e.tell)
		}
	}
}

// unfinished takes back what the errands that have failed, and those that nobody has
// begun, were to tell.
func (f *friends) unfinished(done []*errand) {
	for len(f.errands) > 0 {
		e := <-f.errands
		e.err = context.Canceled
		done = append(done, e)
	}
	for _, e := range done {
		switch x := e.circle; {
		case e.err == nil:
			f.settle(e.tell)
		case x.tell == nil:
			x.tell = e.tell
		}
	}
}
