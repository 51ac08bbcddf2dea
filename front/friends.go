package front

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/presence"
)

// Friends is what the worker needs to tell users of their friends; see
// presence.Teller. Stored and Meet are called from several goroutines and may block
// until ctx ends; Heard never blocks.
type Friends interface {
	Stored(ctx context.Context, user hub.UserID) ([]hub.UserID, error)
	Meet(ctx context.Context, all []*presence.Meeting)
	Heard(user hub.UserID, online bool)
}

const (
	// friendRetry is when a look-up that has failed is tried again.
	friendRetry = loop.TicksPerSecond
	// maxNoticeNames bounds the names in notices that wait for the loop, of those to
	// be told and of those who have gone.
	maxNoticeNames = 1 << 17
	// friendBudget is how much a turn does: each connection told is 1, and each list of
	// friends that is looked through listCost.
	friendBudget = 1024
	listCost     = 8
)

// friends tells users who of their friends is there, comes and goes, and has the
// friends of this worker's users told. The loop owns it, but for news and errands. A
// nil one does nothing: that is a worker whose users have none.
type friends struct {
	loop       *loop.Loop[client]
	sessions   *sessions
	m          *metrics
	host       Friends
	mayDeliver func() bool // whether the worker is in good standing at this moment
	mayTell    func() bool // the same, for any goroutine
	news       friendNews
	errands    chan *errand

	circles map[hub.UserID]*circle
	touched []*circle // that may have an errand
	failed  []*circle // whose errand is to be tried again
	waiting []*circle // that found no room among the errands
	recent  recentMoves
	reread  []hub.UserID // who is to be told anew who is online

	notices []notice // taken from news
	at      int      // the next of them
	search  *search  // of the one that is being dealt with
}

// circle is what a worker keeps of a user who has friends, from its first connection
// here until the index has let go of the last.
type circle struct {
	user   hub.UserID
	names  string // the friends, with spaces between
	told   string // those who were told of the user when it came, or since; names as a rule
	known  bool   // it is known who the friends are
	stored bool   // data Redis says who they are, no token
	stale  bool   // the stored list has changed
	left   bool   // the index has let go of the user
	busy   bool   // an errand is under way
	again  loop.Tick
	tell   *presence.News // what the friends are to hear; nil: nothing
	greet  []*conn        // that are to hear who is online
}

// watch is a connection that is yet to hear who of its friends is online. Until then
// what becomes of them is held, so that the older word does not come after the newer.
// What is more than may be held is let go, and the connection hears again who is
// online.
//
//bound:presence-held
type watch struct {
	held  []loop.Message
	again bool
}

// friendNews is what others tell the loop.
type friendNews struct {
	mu      sync.Mutex
	moves   []index.Moves
	notices []notice
	names   int       // in notices, and in those taken
	done    []*errand // carried out
}

// Moved tells of moves of the worker's users; see presence.Front.
func (w *Worker) Moved(m index.Moves) {
	f := w.friends
	f.news.mu.Lock()
	f.news.moves = append(f.news.moves, m)
	f.news.mu.Unlock()
	f.loop.Wake()
}

// Told takes a notice; see presence.Front.
func (w *Worker) Told(m presence.Message, done func()) bool {
	n, f := notice{Message: m, done: done}, w.friends
	f.news.mu.Lock()
	defer f.news.mu.Unlock()
	if f.news.names > 0 && f.news.names+n.Names() > maxNoticeNames {
		f.m.refusedEnvelopes.Inc()
		return false
	}
	f.news.names += n.Names()
	f.news.notices = append(f.news.notices, n)
	f.loop.Wake()
	return true
}

// register notes the friends of a user who connects, before the index is told.
func (f *friends) register(c *conn, id auth.Identity) {
	if f == nil {
		return
	}
	x := f.circles[c.State.user]
	if x == nil {
		x = &circle{user: c.State.user, stored: true}
		f.circles[x.user] = x
	}
	x.left = false
	if id.Friends != nil {
		x.list(joinFriends(x.user, id.Friends))
		x.stored = false
	}
	c.State.more().watch = &watch{}
}

// list makes names the friends. Who was not among them before hears of the user with
// the next errand, and who is no more.
func (x *circle) list(names string) {
	if !x.known {
		x.told = names
	}
	x.names, x.known, x.stale = names, true, false
}

// joinFriends is the list of user's friends as a circle keeps it.
func joinFriends(user hub.UserID, list []hub.UserID) string {
	size := 0
	for _, u := range list {
		size += len(u) + 1
	}
	var b strings.Builder
	b.Grow(size)
	for _, u := range list {
		if u == user {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(u))
	}
	return b.String()
}

// splitFriends is its inverse.
func splitFriends(names string) (list []hub.UserID) {
	if names == "" {
		return nil
	}
	list = make([]hub.UserID, 0, strings.Count(names, " ")+1)
	for one := range strings.SplitSeq(names, " ") {
		list = append(list, hub.UserID(one))
	}
	return list
}

// opened has a client who was greeted hear of its friends.
func (f *friends) opened(c *conn) {
	if f == nil || c.State.stage != stageOpen {
		return
	}
	if x := f.circles[c.State.user]; x != nil {
		x.greet = append(x.greet, c)
		f.touched = append(f.touched, x)
	}
}

// regreet has all clients of x's user hear anew who is online.
func (f *friends) regreet(x *circle) {
	for c := f.sessions.users.newest[x.user]; c != nil; c = c.State.older() {
		switch w := c.State.watching(); {
		case w != nil:
			w.again = true
		case c.State.stage == stageOpen:
			c.State.more().watch = &watch{}
			x.greet = append(x.greet, c)
		}
	}
	f.touched = append(f.touched, x)
}

// leave forgets what is held for a connection that ends.
func (f *friends) leave(c *conn) {
	if f == nil || c.State.watching() == nil {
		return
	}
	c.State.extra.watch = nil
	c.State.spare()
	if x := f.circles[c.State.user]; x != nil {
		x.greet = slices.DeleteFunc(x.greet, func(o *conn) bool { return o == c })
		f.touched = append(f.touched, x)
	}
}

// turn goes on with all there is to tell.
func (f *friends) turn() {
	if f == nil {
		return
	}
	moves, done := f.take()
	for _, e := range done {
		f.returned(e)
	}
	for i := range moves {
		f.moved(&moves[i])
	}
	for _, x := range f.touched {
		f.start(x)
	}
	clear(f.touched)
	f.touched = f.touched[:0]
	for len(f.waiting) > 0 && len(f.errands) < cap(f.errands) {
		x := f.waiting[0]
		f.waiting = f.waiting[1:]
		x.busy = false
		f.start(x)
	}
	f.deliver()
}

func (f *friends) take() (moves []index.Moves, done []*errand) {
	f.news.mu.Lock()
	defer f.news.mu.Unlock()
	moves, done = f.news.moves, f.news.done
	f.news.moves, f.news.done = nil, nil
	if f.at == len(f.notices) {
		f.notices, f.at = f.news.notices, 0
		f.news.notices = nil
	}
	return moves, done
}

// moved has the friends of those who came or went told.
func (f *friends) moved(m *index.Moves) {
	for _, a := range m.Came {
		if x := f.circles[a.User]; x != nil {
			x.tell = &presence.News{User: a.User, Online: true, Services: a.Services, At: a.At}
			f.touched = append(f.touched, x)
		} else {
			f.host.Heard(a.User, true)
		}
	}
	for _, d := range m.Went {
		if x := f.circles[d.User]; x != nil {
			x.tell = &presence.News{User: d.User, At: d.At}
			f.over(x)
		} else {
			f.host.Heard(d.User, false)
		}
	}
	for _, u := range m.Left {
		if x := f.circles[u]; x != nil {
			f.over(x)
		}
	}
}

// over notes that the index has let go of x's user.
func (f *friends) over(x *circle) {
	x.left = f.sessions.users.newest[x.user] == nil
	f.touched = append(f.touched, x)
}

// rereadPerTick is how many users a tick has told anew who is online: each costs a
// look at all its friends.
const rereadPerTick = 20

// tick has errands that failed tried again.
func (f *friends) tick() {
	if f == nil {
		return
	}
	now := f.loop.Now()
	f.recent.age(now)
	f.failed = slices.DeleteFunc(f.failed, func(x *circle) bool {
		due := x.again <= now
		if due {
			f.touched = append(f.touched, x)
		}
		return due
	})
	n := min(rereadPerTick, len(f.reread))
	for _, u := range f.reread[:n] {
		if x := f.circles[u]; x != nil {
			f.regreet(x)
		}
	}
	if f.reread = f.reread[n:]; len(f.reread) == 0 {
		f.reread = nil
	}
}

// befriend tells clients of x's user which of its friends are online, and then what
// was held for them.
func (f *friends) befriend(x *circle, clients []*conn, online []presence.Friend) {
	var wires wires
	var body []byte
	if x.names != "" || x.told != "" {
		body = appendOnline(nil, online)
	}
	for _, c := range clients {
		w := c.State.watching()
		if w == nil || c.State.stage != stageOpen {
			continue
		}
		if w.again {
			*w = watch{}
			x.greet = append(x.greet, c)
			f.touched = append(f.touched, x)
			continue
		}
		c.State.extra.watch = nil
		c.State.spare()
		if body != nil {
			f.sessions.give(c, wires.message(f, c, outgoing{kind: kindFriends, body: body}, nil, loop.Must), original{})
		}
		for i := range w.held {
			if c.State.stage == stageOpen {
				f.sessions.giveSoon(c, &w.held[i])
			}
		}
	}
}
