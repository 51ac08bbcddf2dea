package front

import (
	"hash/maphash"
	"slices"
	"strings"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/presence"
)

// wires is one message as each protocol has it.
type wires [maxProtocols]*loop.Message

func (w *wires) message(f *friends, c *conn, m outgoing, key []byte, class loop.Class) *loop.Message {
	at := &w[c.State.protocol]
	if *at == nil {
		*at = f.sessions.message(c, m, class)
		(*at).Key = key
	}
	return *at
}

// notice is a message that waits.
//
//bound:presence-notices
type notice struct {
	presence.Message

	at   int // the next of its News
	done func()
}

// give brings a message about friends to c, or holds it until c has heard who is
// online. It can wait for a moment, so that many are written at once.
func (f *friends) give(c *conn, m *loop.Message) {
	w := c.State.watching()
	switch {
	case w == nil:
		f.sessions.giveSoon(c, m)
		return
	case w.again:
		return
	}
	if i := slices.IndexFunc(w.held, func(h loop.Message) bool { return h.ObsoleteBy(m) }); i >= 0 {
		w.held = slices.Delete(w.held, i, i+1)
	}
	if len(w.held) == hub.MaxFriends {
		w.held, w.again = nil, true
		return
	}
	w.held = append(w.held, *m)
}

// deliver deals with notices, some in each turn. Like envelopes, they wait while the
// worker is in doubt.
func (f *friends) deliver() {
	for budget := friendBudget; f.at < len(f.notices) && f.mayDeliver(); {
		if budget <= 0 {
			f.loop.Wake()
			return
		}
		if n := &f.notices[f.at]; f.dealWith(n, &budget) {
			f.finish(n)
		}
	}
}

// dealWith goes on with n, and reports whether it is done.
func (f *friends) dealWith(n *notice, budget *int) (done bool) {
	switch {
	case n.Gone != nil:
		return f.bury(n, budget)
	case n.Changed != nil:
		for _, u := range n.Changed {
			f.changed(f.circles[u])
		}
	case n.Reread:
		f.reread = f.reread[:0]
		for u := range f.circles {
			f.reread = append(f.reread, u)
		}
	case n.at < len(n.News):
		*budget -= f.tell(&n.News[n.at])
		n.at++
		return n.at == len(n.News)
	}
	*budget--
	return true
}

// changed has x's user's stored list read anew, unless a token says who its friends
// are, and its clients hear who of them is online.
func (f *friends) changed(x *circle) {
	if x == nil || !x.stored {
		return
	}
	x.stale = true
	f.regreet(x)
}

func (f *friends) finish(n *notice) {
	f.news.mu.Lock()
	f.news.names -= n.Names()
	more := len(f.news.notices) > 0
	f.news.mu.Unlock()
	n.done()
	*n = notice{}
	f.at++
	if f.at == len(f.notices) && more {
		f.loop.Wake()
	}
}

// tell writes a word to those of its watchers who are here, and returns how many
// connections that were. What is older than what was told before is left out.
func (f *friends) tell(w *presence.Word) (told int) {
	if !f.recent.newer(w.User, w.At) {
		return 1
	}
	body := appendNews(nil, &w.News)
	key := append([]byte("presence:"), w.User...)
	var wires wires
	for _, u := range w.To {
		for c := f.sessions.users.newest[u]; c != nil; {
			older := c.State.older()
			f.give(c, wires.message(f, c, outgoing{kind: kindPresence, body: body}, key, loop.Latest)) // may end c
			c = older
			told++
		}
	}
	return 1 + told
}

// search is a walk through all circles for those who have lost friends.
type search struct {
	users []hub.UserID // of the circles
	at    int
	gone  map[string]struct{}
	seed  maphash.Seed
	seen  [1 << 12]uint64 // bits, by hash: most friends are not among the gone
}

// bury tells every user here which of its friends have gone, in one message, and
// reports whether all were.
func (f *friends) bury(n *notice, budget *int) (done bool) {
	if f.search == nil {
		f.search = f.newSearch(n)
	}
	s := f.search
	for ; s.at < len(s.users) && *budget > 0; *budget -= listCost {
		u := s.users[s.at]
		s.at++
		c, x := f.sessions.users.newest[u], f.circles[u]
		if c == nil || x == nil {
			continue
		}
		lost := s.among(x.names)
		if len(lost) == 0 {
			continue
		}
		body := appendGone(nil, lost)
		var wires wires
		for c != nil {
			older := c.State.older()
			f.give(c, wires.message(f, c, outgoing{kind: kindPresence, body: body}, nil, loop.Must)) // may end c
			c = older
			*budget--
		}
	}
	if s.at < len(s.users) {
		return false
	}
	f.search = nil
	return true
}

// newSearch leaves out those who have come again since.
func (f *friends) newSearch(n *notice) *search {
	s := &search{gone: make(map[string]struct{}, len(n.Gone)), seed: maphash.MakeSeed()}
	for _, g := range n.Gone {
		if f.recent.newer(g.User, g.At) {
			s.gone[string(g.User)] = struct{}{}
			h := s.hash(string(g.User))
			s.seen[h/64] |= 1 << (h % 64)
		}
	}
	if len(s.gone) == 0 {
		return s
	}
	s.users = make([]hub.UserID, 0, len(f.circles))
	for u := range f.circles {
		s.users = append(s.users, u)
	}
	return s
}

func (s *search) hash(name string) uint64 {
	return maphash.String(s.seed, name) % uint64(64*len(s.seen))
}

// among returns those of names who have gone.
func (s *search) among(names string) (lost []string) {
	for name := range strings.SplitSeq(names, " ") {
		if h := s.hash(name); s.seen[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		if _, gone := s.gone[name]; gone {
			lost = append(lost, name)
		}
	}
	return lost
}
