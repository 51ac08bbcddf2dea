package index

import (
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// ledger is what one process wants one shard to say about its users: the
// truth that the index is brought to, and repaired from. It costs about 50
// bytes per user beside the user id itself, which it shares with its caller.
type ledger struct {
	linger time.Duration // how long a user who has left keeps its place; 0: not at all, and nobody is told of moves

	mu       sync.Mutex
	held     map[hub.UserID]holding
	texts    texts
	queue    []change    // what is to be written, oldest first
	taken    int         // changes on their way: in a round that is not settled yet
	waiting  int         // changes in the queue that somebody waits for
	closed   bool        // no more sets
	departed []departure // users whose removal was written lately, oldest first
	leavers  []leaver    // users who linger, or did, oldest first
	going    int         // users held as gone: others have yet to hear of it
	scratch  []byte
}

// holding is the desired state of one user. A user whose removal has not been
// written yet is held with the text 0.
type holding struct {
	text   uint32
	queued bool    // stands in the queue; what is written is the state then
	known  written // what the index knows of the user; only with linger
	heard  bool    // the index is to know that others have heard of its coming
	left   uint8   // times that it began to linger; after 256 it begins anew
}

// written is what has come of writing a user's states.
type written uint8

const (
	never    written = iota // none was given to the index: nobody can have heard of the user
	unsure                  // the outcome of the first one is not known, or it is on its way
	sure                    // the last one is known to be written, or on its way
	doubtful                // the outcome of the last one is not known
)

// leaver is a user whose place is kept until due, unless it comes back.
type leaver struct {
	user hub.UserID
	left uint8
	due  time.Time
}

// change asks for a user's present state to be written; done may be nil.
type change struct {
	user hub.UserID
	done func(error)
}

type departure struct {
	user hub.UserID
	at   time.Time
}

// maxDeparted bounds how many departures are remembered.
const maxDeparted = 1 << 16

// set makes services the desired state of user and queues it. It tells whether
// it did: after close it does nothing.
func (l *ledger) set(user hub.UserID, services []hub.ServiceCount, done func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.scratch = appendHolds(l.scratch[:0], services)
	if len(l.scratch) == 0 && l.lingersLocked(user, done) {
		return true
	}
	l.setLocked(user, l.texts.ref(l.scratch), done)
	return true
}

// lingersLocked has a user who has left keep its place for a while, and reports
// whether it does.
func (l *ledger) lingersLocked(user hub.UserID, done func(error)) bool {
	h := l.held[user]
	switch {
	case l.linger == 0 || h.text == 0 || h.known == never || hub.IsTopic(user):
		return false
	case l.texts.get(h.text) == gone:
		l.setLocked(user, l.texts.ref([]byte(gone)), done)
		return true
	}
	h.left++
	l.held[user] = h
	l.leavers = append(l.leavers, leaver{user, h.left, time.Now().Add(l.linger)})
	l.setLocked(user, l.texts.ref([]byte(lingering)), done)
	return true
}

// expire has it told of those who have lingered for long enough that they are gone.
func (l *ledger) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.leavers) > 0 && !now.Before(l.leavers[0].due) {
		x := l.leavers[0]
		l.leavers = l.leavers[1:]
		if h := l.held[x.user]; h.left == x.left && l.texts.get(h.text) == lingering {
			l.setLocked(x.user, l.texts.ref([]byte(gone)), nil)
		}
	}
	if len(l.leavers) == 0 {
		l.leavers = nil
	}
}

// expires is when expire has something to do; zero: nobody lingers.
func (l *ledger) expires() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.leavers) == 0 {
		return time.Time{}
	}
	return l.leavers[0].due
}

// heard has it written that others have heard that a user came, and reports whether
// it does: the user may have left.
func (l *ledger) heard(user hub.UserID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[user]
	if h.text == 0 || l.texts.get(h.text) == gone {
		return false
	}
	h.heard = true
	if !h.queued {
		h.queued = true
		l.queue = append(l.queue, change{user: user})
	}
	l.held[user] = h
	return true
}

// told queues the removal of the mark of a user of whom others have heard that it is
// gone, and reports whether it did: the user may be back.
func (l *ledger) told(user hub.UserID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[user]; h.queued || l.texts.get(h.text) != gone {
		return false
	}
	l.setLocked(user, 0, nil)
	return true
}

// left forgets users who are gone from here, of which there is no mark: others have
// them.
func (l *ledger) left(users []hub.UserID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, user := range users {
		if h := l.held[user]; !h.queued && l.texts.get(h.text) == gone {
			l.texts.unref(h.text)
			l.going--
			delete(l.held, user)
			l.departed = append(l.departed, departure{user, now})
		}
	}
}

func (l *ledger) setLocked(user hub.UserID, text uint32, done func(error)) {
	h := l.held[user]
	l.countGoingLocked(h.text, text)
	l.texts.unref(h.text)
	if !h.queued || done != nil {
		l.queue = append(l.queue, change{user, done})
	}
	if done != nil {
		l.waiting++
	}
	if l.held == nil {
		l.held = make(map[hub.UserID]holding)
	}
	h.text, h.queued = text, true
	l.held[user] = h
}

func (l *ledger) countGoingLocked(before, after uint32) {
	if l.texts.get(before) == gone {
		l.going--
	}
	if l.texts.get(after) == gone {
		l.going++
	}
}

// refuse makes set do nothing from now on.
func (l *ledger) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// close makes none the last desired state of every user. Those who linger, or
// begin to, keep their places until it is over.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for user, h := range l.held {
		if !holdsNone(l.texts.get(h.text)) && !l.lingersLocked(user, nil) {
			l.setLocked(user, 0, nil)
		}
	}
}

// isDone reports whether close was called and everything is written that it asked
// for.
func (l *ledger) isDone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quietLocked() && l.going == 0
}

// isQuiet is isDone but for those of whom others have yet to hear that they are gone.
func (l *ledger) isQuiet() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.quietLocked()
}

func (l *ledger) quietLocked() bool { return l.closed && len(l.queue)+l.taken+len(l.leavers) == 0 }

// pending is the number of changes that are not written yet.
func (l *ledger) pending() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) + l.taken
}

// round is a set of users whose state is written together. It belongs to the
// goroutine that took it.
type round struct {
	users   []hub.UserID // distinct
	holds   []string     // what is to be written of each
	tells   []byte       // of each, whether who comes and goes is told: see put.lua; empty: it is not
	changes []change     // what is settled by it, a user more than once perhaps
}

// take moves up to limit queued changes into r, which must be empty.
func (l *ledger) take(r *round, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(limit, len(l.queue))
	r.changes = append(r.changes, l.queue[:n]...)
	clear(l.queue[:n])
	l.queue = l.queue[n:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	l.fillLocked(r)
}

// takeRemovals is take for those changes alone that leave nothing of a user.
func (l *ledger) takeRemovals(r *round, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.queue[:0]
	for _, c := range l.queue {
		if text := l.texts.get(l.held[c.user].text); (text == "" || holdsNone(text)) && len(r.changes) < limit {
			r.changes = append(r.changes, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(l.queue[len(kept):])
	l.queue = kept
	l.fillLocked(r)
}

// fillLocked has r write what its changes ask for.
func (l *ledger) fillLocked(r *round) {
	l.taken = len(r.changes)
	for _, c := range r.changes {
		if c.done != nil {
			l.waiting--
		}
		if h := l.held[c.user]; h.queued {
			holds := l.texts.get(h.text)
			if l.linger > 0 {
				r.tells = append(r.tells, tellsOf(c.user, h, holds))
				h.heard = false
				if holds != "" {
					h.known = max(h.known, unsure)
				}
			}
			h.queued = false
			l.held[c.user] = h
			r.users = append(r.users, c.user)
			r.holds = append(r.holds, holds)
		}
	}
}

// tellsOf is how put.lua is asked for a user's moves.
func tellsOf(user hub.UserID, h holding, holds string) byte {
	switch {
	case holds == "" || hub.IsTopic(user):
		return '-'
	case h.known == doubtful:
		return 'd'
	case h.known == unsure:
		return 'u'
	case h.heard:
		return 'h'
	}
	return 't'
}

// putBack queues what r took again, first in line, and empties it.
func (l *ledger) putBack(r *round) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = 0
	for _, user := range r.users {
		h := l.held[user]
		h.queued = true
		if h.known == sure {
			h.known = doubtful
		}
		l.held[user] = h
	}
	for _, c := range r.changes {
		if c.done != nil {
			l.waiting++
		}
	}
	l.queue = append(append(make([]change, 0, len(r.changes)+len(l.queue)), r.changes...), l.queue...)
	r.reset()
}

// settle records that r was written at now and forgets the users that are
// gone. The caller still has to call r's callbacks.
func (l *ledger) settle(r *round, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken = 0
	for i, user := range r.users {
		if h := l.held[user]; len(r.tells) > 0 && h.known != never && h.known != sure {
			h.known = sure
			l.held[user] = h
		}
		if r.holds[i] != "" {
			continue
		}
		if h := l.held[user]; h.text == 0 && !h.queued {
			delete(l.held, user)
		}
		l.departed = append(l.departed, departure{user, now})
	}
	if over := len(l.departed) - maxDeparted; over > 0 {
		l.departed = l.departed[over:]
	}
}

// forgetDepartures drops what departed before t.
func (l *ledger) forgetDepartures(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.departed) && l.departed[n].at.Before(t) {
		n++
	}
	l.departed = l.departed[n:]
	if len(l.departed) == 0 {
		l.departed = nil
	}
}

// everyone lists the users held and those that departed lately. A shard that
// lost its last writes may be wrong about any of them.
func (l *ledger) everyone() []hub.UserID {
	l.mu.Lock()
	defer l.mu.Unlock()
	users := make([]hub.UserID, 0, len(l.held)+len(l.departed))
	for user := range l.held {
		users = append(users, user)
	}
	for _, d := range l.departed {
		if _, held := l.held[d.user]; !held {
			users = append(users, d.user)
		}
	}
	return users
}

// compare queues those of users whose index value does not say what pid holds
// of them, and returns their number. Users that are queued already are passed
// over. Nothing taken may be on its way while values were read.
func (l *ledger) compare(users []hub.UserID, values []string, pid hub.ProcessID) (wrong int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, user := range users {
		h, held := l.held[user] // none when it departed: nothing is to be there
		if h.queued || sameHolds(holdsOf(values[i], pid), l.texts.get(h.text)) {
			continue
		}
		wrong++
		if !held && l.linger > 0 && !hub.IsTopic(user) { // others may take it for online again
			h.text, h.known = l.texts.ref([]byte(gone)), sure
			l.going++
		}
		h.queued = true
		if l.held == nil {
			l.held = make(map[hub.UserID]holding)
		}
		l.held[user] = h
		l.queue = append(l.queue, change{user: user})
	}
	return wrong
}

// sameHolds reports whether what the index has is what is wanted there.
func sameHolds(has, want string) bool { return has == want || want == gone && isGone(has) }

// giveUp takes the callbacks out of the oldest changes until no more than
// limit wait, and returns them for the caller to call. The users stay queued.
func (l *ledger) giveUp(limit int) []func(error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var dones []func(error)
	for i := range l.queue {
		if l.waiting <= limit {
			break
		}
		if c := &l.queue[i]; c.done != nil {
			dones = append(dones, c.done)
			c.done = nil
			l.waiting--
		}
	}
	l.compactLocked()
	return dones
}

// compactLocked drops changes that neither stand first for their user nor
// have anybody waiting. The queued marks are lifted to tell which was first.
func (l *ledger) compactLocked() {
	kept := l.queue[:0]
	for _, c := range l.queue {
		h := l.held[c.user]
		if !h.queued && c.done == nil {
			continue
		}
		kept = append(kept, c)
		if h.queued {
			h.queued = false
			l.held[c.user] = h
		}
	}
	for _, c := range kept {
		if h, ok := l.held[c.user]; ok {
			h.queued = true
			l.held[c.user] = h
		}
	}
	clear(l.queue[len(kept):])
	l.queue = kept
}

func (r *round) reset() {
	clear(r.changes)
	clear(r.users)
	clear(r.holds)
	r.changes, r.users, r.holds, r.tells = r.changes[:0], r.users[:0], r.holds[:0], r.tells[:0]
}

// finish empties r, which was written, and calls back those who waited for it.
func (r *round) finish() {
	for _, c := range r.changes {
		if c.done != nil {
			c.done(nil)
		}
	}
	r.reset()
}
