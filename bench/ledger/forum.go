package ledger

import (
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// Forum collects what is sent to topics, and what their members hear; SettleForum
// compares the two. Members come and go, so each tells from when to when it was one.
// Its methods are safe for concurrent use. The zero value is ready.
type Forum struct {
	mu        sync.Mutex
	posts     []*Post
	listeners []*Listener
}

// Post is one notification for topics, and perhaps for users too. It is complete when
// it is entered.
type Post struct {
	Key

	By       int // who took it from its sender: what one took from one sender stays in order
	Topics   []hub.Topic
	Users    []hub.UserID
	Services []hub.Service // only connections of these; none: all
	Latest   bool          // of class latest: a later one of its sender stands for it
	Due      time.Time     // when it was sent
	Answered time.Time     // when its sender knew the outcome
	Outcome  Outcome
}

// Enter records a post and its answer.
func (f *Forum) Enter(p *Post) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts = append(f.posts, p)
}

// Listen returns the book of a client of user, which connects from a service, or from
// none.
func (f *Forum) Listen(user hub.UserID, service hub.Service) *Listener {
	l := &Listener{User: user, Service: service, invited: make(map[hub.Topic]time.Time)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, l)
	return l
}

// Listener is a client over all its connections. The client and backends write it
// down; its methods are safe for concurrent use.
type Listener struct {
	User    hub.UserID
	Service hub.Service

	mu       sync.Mutex
	sittings []*Sitting
	invited  map[hub.Topic]time.Time // when a backend last asked to have it join
}

// Sitting is one connection of a listener. What arrives on it only the client writes.
type Sitting struct {
	listener *Listener
	dialed   time.Time
	opened   time.Time
	holder   int // the process that holds it; 0: not known
	end      End
	stays    map[hub.Topic][]*Stay
	heard    []Receipt

	away time.Time // since when nothing was due on it, though it had not ended; zero: until it ended
}

// Stay is one membership of a connection.
type Stay struct {
	asked   time.Time // from when on it may be one
	joined  time.Time // from when on it is; zero: that was not said
	leaving time.Time // up to when it is; zero: to the connection's end
	left    time.Time // up to when it may be

	after     bool      // it asked for what it had missed
	recovered bool      // the answer said that nothing else is missing
	caughtUp  time.Time // what was missed has been read; zero: not yet
}

// Open records a connection that was dialed and has just had its hello. It is a member
// of topics, by its token.
func (l *Listener) Open(dialed time.Time, topics []hub.Topic) *Sitting {
	now := time.Now()
	s := &Sitting{listener: l, dialed: dialed, opened: now, stays: make(map[hub.Topic][]*Stay)}
	for _, t := range topics {
		s.stays[t] = []*Stay{{asked: dialed, joined: now}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sittings = append(l.sittings, s)
	return s
}

// Invite records that a backend is about to have the listener join.
func (l *Listener) Invite(topic hub.Topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.invited[topic] = time.Now()
}

// Dismiss records that a backend is about to have the listener leave.
func (l *Listener) Dismiss(topic hub.Topic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sittings {
		if x := s.present(topic); x != nil && x.leaving.IsZero() {
			x.leaving = time.Now()
		}
	}
}

// HeldBy records the process that holds the connection.
func (s *Sitting) HeldBy(pid int) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	s.holder = pid
}

// Asks records that the client is about to ask to join; after: for what it has missed,
// too.
func (s *Sitting) Asks(topic hub.Topic, after bool) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	s.stays[topic] = append(s.stays[topic], &Stay{asked: time.Now(), after: after})
}

// Joined records that the client has read that it is a member. recovered is what was
// said of what it has missed.
func (s *Sitting) Joined(topic hub.Topic, recovered bool) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	x := s.present(topic)
	if x == nil || !x.joined.IsZero() { // a backend's doing
		x = &Stay{asked: s.listener.invited[topic]}
		s.stays[topic] = append(s.stays[topic], x)
	}
	x.joined, x.recovered = time.Now(), recovered
}

// CaughtUp records that all that was missed of topic has been read.
func (s *Sitting) CaughtUp(topic hub.Topic) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	if x := s.present(topic); x != nil {
		x.caughtUp = time.Now()
	}
}

// Leaves records that the client is about to ask to leave.
func (s *Sitting) Leaves(topic hub.Topic) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	if x := s.present(topic); x != nil && x.leaving.IsZero() {
		x.leaving = time.Now()
	}
}

// Left records that the client has read that it is no member, or does not become one.
func (s *Sitting) Left(topic hub.Topic) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	if x := s.present(topic); x != nil {
		x.left = time.Now()
		if x.leaving.IsZero() {
			x.leaving = x.left
		}
	}
}

// present is the last stay in topic, unless it has ended.
func (s *Sitting) present(topic hub.Topic) *Stay {
	all := s.stays[topic]
	if len(all) == 0 || !all[len(all)-1].left.IsZero() {
		return nil
	}
	return all[len(all)-1]
}

// suits reports whether p is for connections of the listener's service.
func (l *Listener) suits(p *Post) bool {
	return len(p.Services) == 0 || slices.Contains(p.Services, l.Service)
}

// Hear records an arrival. Only the client may call it.
func (s *Sitting) Hear(r Receipt) { s.heard = append(s.heard, r) }

// Close records how the connection ended.
func (s *Sitting) Close(e End) {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	s.end = e
}

// Members returns how many connections are members of topic now, by what was said.
func (f *Forum) Members(topic hub.Topic) (n int) {
	f.mu.Lock()
	all := slices.Clone(f.listeners)
	f.mu.Unlock()
	for _, l := range all {
		l.mu.Lock()
		for _, s := range l.sittings {
			if x := s.present(topic); x != nil && s.end.At.IsZero() && !x.joined.IsZero() {
				n++
			}
		}
		l.mu.Unlock()
	}
	return n
}

// Memberships counts those of all connections there are, and ever were.
func (f *Forum) Memberships() (now, ever int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		l.mu.Lock()
		for _, s := range l.sittings {
			for topic, all := range s.stays {
				ever += len(all)
				if s.end.At.IsZero() && s.present(topic) != nil {
					now++
				}
			}
		}
		l.mu.Unlock()
	}
	return now, ever
}
