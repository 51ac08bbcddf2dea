package presence

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
)

// Index says what the index names of users; see index.Index.
type Index interface {
	Entries(ctx context.Context, users []hub.UserID) ([]index.Entry, error)
}

// Registrar is told what others have heard; see index.Registrar.
type Registrar interface {
	Told(came, went []hub.UserID)
}

// Sender sends messages; see relay.Relay.
type Sender interface {
	Send(ctx context.Context, out []relay.Outgoing) error
}

// Front holds the connections; see front.Worker. No method blocks.
type Front interface {
	// Moved tells of the moves of the process's own users.
	Moved(m index.Moves)
	// Told takes a message of another process, or of this one, or reports false
	// when there is no room for it now. done is called once it was dealt with.
	Told(m Message, done func()) bool
}

// Teller tells of the users of one front process. It is safe for concurrent use.
type Teller struct {
	debts

	cfg    Config
	index  Index
	store  *Store
	log    *slog.Logger
	met    tellerMetrics
	events events
	heard  heard
}

// Deps is what a Teller works with.
type Deps struct {
	Index     Index
	Registrar Registrar
	Relay     Sender
	Census    Census
	Hooks     *hook.Publisher // nil: backends are told nothing
	Store     *Store
	Log       *slog.Logger
	Registry  prometheus.Registerer
}

// NewTeller returns a Teller. cfg must be enabled. Run should be running.
func NewTeller(cfg Config, d Deps) *Teller {
	t := &Teller{
		debts: debts{relay: d.Relay, census: d.Census},
		cfg:   cfg, index: d.Index, store: d.Store, log: d.Log,
		met: newTellerMetrics(d.Registry), events: events{d.Hooks},
	}
	t.heard = heard{registrar: d.Registrar, wake: make(chan struct{}, 1)}
	if cfg.On {
		t.heard.hooks = d.Hooks
	}
	return t
}

// Moved is for index.Registrar.Tell: it has backends hear of m, and then f, with
// friends. f must not block.
func (t *Teller) Moved(f func(index.Moves)) func(index.Moves) {
	return func(m index.Moves) {
		t.met.came.Add(float64(len(m.Came)))
		t.met.went.Add(float64(len(m.Went)))
		if t.cfg.On {
			t.events.moved(&m)
		}
		if t.cfg.Friends {
			f(m)
			return
		}
		for i := range m.Came {
			t.Heard(m.Came[i].User, true)
		}
		for i := range m.Went {
			t.Heard(m.Went[i].User, false)
		}
	}
}

// Handle returns a relay.Handler that gives messages of this package to front, and
// all others to next. front is nil when nobody here has friends.
func (t *Teller) Handle(front Front, next relay.Handler) relay.Handler {
	return func(m *relay.Message) bool {
		if !Is(m.Body) {
			return next(m)
		}
		msg, err := Parse(m.Body)
		if err != nil || !t.cfg.Friends {
			t.log.Warn("presence: message dropped", "from", m.From, "err", err)
			m.Done(nil)
			return true
		}
		return front.Told(msg, func() { m.Done(nil) })
	}
}

// Stored returns the friends that were stored for user, none as a rule. It may block
// until ctx ends. The error wraps hub.ErrUnavailable when Redis is its cause.
func (t *Teller) Stored(ctx context.Context, user hub.UserID) ([]hub.UserID, error) {
	return t.store.Get(ctx, user)
}

// Meeting is a look at the friends of one user, and what is to be told to those who
// are online.
type Meeting struct {
	User    hub.UserID
	Friends []hub.UserID

	// Tell is what is to be told. Of one without a time it is told at the time when
	// the user came, if it is online.
	Tell []Tell

	// Set by Meet.
	Online []Friend // in the order of Friends
	Err    error    // some may have been told; wraps hub.ErrUnavailable when Redis is its cause
}

// Tell is news, and who of the friends is to be told; To nil: all.
type Tell struct {
	News

	To map[hub.UserID]bool
}

// Meet says who of friends is online, and tells them. For all meetings together it
// costs one MGET per data shard, and a message for each process that holds somebody to
// be told. It may block until ctx ends.
func (t *Teller) Meet(ctx context.Context, all []*Meeting) {
	var users []hub.UserID
	for _, m := range all {
		users = append(append(users, m.User), m.Friends...)
	}
	where, err := t.index.Entries(ctx, users)
	if err != nil {
		t.met.failed.Add(float64(len(all)))
		fail(all, fmt.Errorf("presence: %w", err))
		return
	}
	t.met.lookups.Add(float64(len(all)))
	words := make(map[hub.ProcessID]*Message)
	for _, m := range all {
		at := where[:1+len(m.Friends)]
		where = where[len(at):]
		m.Online = onlineOf(at[1:])
		for i := range m.Tell {
			m.Tell[i].group(at, words)
		}
	}
	if err := t.tell(ctx, words); err != nil {
		fail(slices.DeleteFunc(slices.Clone(all), func(m *Meeting) bool { return len(m.Tell) == 0 }), err)
	}
}

func fail(all []*Meeting, err error) {
	for _, m := range all {
		m.Err = err
	}
}

// onlineOf are those who have a process.
func onlineOf(where []index.Entry) (online []Friend) {
	for i := range where {
		if p := &where[i]; len(p.Processes) > 0 {
			online = append(online, Friend{User: p.User, Services: servicesOf(p.Processes)})
		}
	}
	return online
}

// servicesOf are the names of the services of a user's connections, each once.
func servicesOf(processes []hub.Holding) (names []hub.Service) {
	for _, h := range processes {
		for _, s := range h.Services {
			if s.Service != "" {
				names = append(names, s.Service)
			}
		}
	}
	if len(names) > 1 {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names[:min(len(names), hub.MaxServices)]
}

// group adds x to what each process is told that has some of those to be told; where
// begins with the user.
func (x *Tell) group(where []index.Entry, words map[hub.ProcessID]*Message) {
	news := x.News
	if news.At.IsZero() {
		if news.At = where[0].Since; news.At.IsZero() {
			return
		}
		if news.Online {
			news.Services = servicesOf(where[0].Processes)
		}
	}
	mine := make(map[hub.ProcessID]*Word)
	for i := range where[1:] {
		p := &where[1+i]
		if x.To != nil && !x.To[p.User] {
			continue
		}
		for _, h := range p.Processes {
			if len(h.Services) == 0 { // no connection of p is there
				continue
			}
			w := mine[h.Process]
			if w == nil {
				m := words[h.Process]
				if m == nil {
					m = &Message{}
					words[h.Process] = m
				}
				m.News = append(m.News, Word{News: news})
				w = &m.News[len(m.News)-1]
				mine[h.Process] = w
			}
			w.To = append(w.To, p.User)
		}
	}
}

// tell sends each process its words.
func (t *Teller) tell(ctx context.Context, words map[hub.ProcessID]*Message) error {
	out := make([]relay.Outgoing, 0, len(words))
	for p, m := range words {
		for some := range slices.Chunk(m.News, maxWords) {
			out = append(out, relay.Outgoing{To: p, Body: (&Message{News: some}).Bytes()})
		}
	}
	refused, err := t.send(ctx, out)
	t.met.untold.Add(float64(refused))
	if err == nil {
		t.met.told.Add(float64(len(out) - refused))
	}
	return err
}
