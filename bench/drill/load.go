package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	targets     = 12 // users that a notification names and that exist
	strangers   = 1  // users that do not exist, named besides
	padding     = 120
	postTimeout = 5 * time.Second

	// tryFor is how long a caller tries again to have a notification accepted
	// that has an id.
	tryFor   = 30 * time.Second
	tryAgain = 50 * time.Millisecond

	waitFor  = "500ms" // of callers who want to be told what became of it
	storeFor = "10m"   // of what is stored
	// storeRate is the most notifications a second that one sender stores:
	// inboxes are bounded, and what is pushed out of them is no loss.
	storeRate = 10
)

// kind is how a sender sends.
type kind uint8

const (
	plainly    kind = iota // once, whatever comes of it
	withID                 // with an id, again until it is accepted
	withReport             // once, and waits for each target's fate
	withStore              // to be kept for those who are away, with an id
	kinds
)

// senders are the game backends of a drill. Each sends in one of several ways
// one notification after another to one API server, until that does not
// answer, on its own open-loop schedule.
type senders struct {
	book     *ledger.Book
	users    []hub.UserID
	guests   []hub.UserID   // who come and go
	posters  []*load.Poster // one per API server
	rate     float64        // notifications per second of all
	count    int
	named    bool // notifications of all kinds have ids
	running  sync.WaitGroup
	accepted atomic.Int64
	refused  atomic.Int64 // or not answered

	mu         sync.Mutex
	lastErr    error         // of the last one not accepted
	refusedFor time.Duration // the longest from the first try of one with an id until it was accepted, or given up
}

func newSenders(book *ledger.Book, users []hub.UserID, apis []string, key string, rate float64, count int) *senders {
	s := &senders{book: book, users: users, rate: rate, count: count}
	for _, url := range apis {
		s.posters = append(s.posters, load.NewPoster(url, key, postTimeout))
	}
	return s
}

// caller is one sender. Its fields are its goroutine's own.
type caller struct {
	*senders

	sender int
	kind   kind
	api    int
	free   time.Time // when its last call ended
}

// caller returns the n-th sender: the kinds take turns, and so do the servers
// within each.
func (s *senders) caller(n int) *caller {
	return &caller{senders: s, sender: n, kind: kind(n % int(kinds)), api: n / int(kinds) % len(s.posters)}
}

// each is how many notifications a second a sender of the kind sends.
func (s *senders) each(k kind) float64 {
	fair := s.rate / float64(s.count)
	if k == withStore {
		return min(fair, storeRate)
	}
	return fair
}

// start sends until ctx ends; wait then waits for the answers still to come.
func (s *senders) start(ctx context.Context) {
	for i := range s.count {
		s.running.Go(func() { s.caller(i).send(ctx) })
	}
}

func (s *senders) wait() {
	s.running.Wait()
	for _, p := range s.posters {
		p.Close()
	}
}

// send is one sender's life. Senders start apart, so that their calls
// interleave.
func (c *caller) send(ctx context.Context) {
	each := c.each(c.kind)
	apart := time.Duration(float64(c.sender) / float64(c.count) / each * float64(time.Second))
	if !load.SleepUntil(ctx, time.Now().Add(apart)) {
		return
	}
	schedule := load.Schedule{Rate: each, Duration: time.Hour, Callers: 1}
	schedule.Run(ctx, func(n int, due time.Time) func(context.Context) {
		return func(ctx context.Context) { c.post(context.WithoutCancel(ctx), n, due) }
	})
}

// post sends one notification and enters it with its answer. Every fourth is
// for one service's connections only. What has to wait for the call before it
// is due when that has ended.
func (c *caller) post(ctx context.Context, n int, due time.Time) {
	if due.Before(c.free) {
		due = c.free
	}
	m := &ledger.Message{
		Key: ledger.Key{Sender: c.sender, N: n}, API: c.api, Users: c.pick(), Due: due, Stored: c.kind == withStore,
	}
	if n%4 == 3 {
		m.Service = services[1+n/4%(len(services)-1)]
	}
	c.enter(m, c.call(ctx, m))
	c.free = time.Now()
}

// call posts m, and again until it is accepted if it has an id. It leaves an
// API server that does not answer for the next.
func (c *caller) call(ctx context.Context, m *ledger.Message) error {
	f := c.form(m)
	body := request(m, f, padding)
	for first := time.Now(); ; {
		err := c.try(ctx, m, body, f.Wait != "")
		if err != nil && outcome(err) == ledger.Unknown {
			c.api = (m.API + 1) % len(c.posters)
		}
		again := err != nil && f.ID != "" && repeatable(err) && time.Since(first) < tryFor
		if !again {
			if m.Tries > 1 || err != nil && f.ID != "" {
				c.wasRefused(time.Since(first))
			}
			return err
		}
		if c.api != m.API {
			m.Roamed = m.Roamed || !errors.Is(err, syscall.ECONNREFUSED)
			m.API = c.api
		}
		time.Sleep(tryAgain)
	}
}

// try posts m once.
func (c *caller) try(ctx context.Context, m *ledger.Message, body []byte, perUser bool) error {
	m.Tries++
	var reply ledger.Reply
	err := c.posters[m.API].NotifyInto(ctx, body, perUser, &reply)
	if err == nil {
		m.Reply = &reply
	}
	return err
}

// repeatable reports whether a caller with an id tries again after err.
func repeatable(err error) bool {
	refused, ok := errors.AsType[*load.RefusedError](err)
	if !ok {
		return true // nobody there, gone in the midst of it, or too slow
	}
	switch refused.Status {
	case http.StatusConflict, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// wasRefused notes how long a notification with an id was not accepted.
func (s *senders) wasRefused(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusedFor = max(s.refusedFor, d)
}

// longestRefused is the longest that a notification with an id was not
// accepted though its caller repeated it.
func (s *senders) longestRefused() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusedFor
}

// enter books m with its answer.
func (s *senders) enter(m *ledger.Message, err error) {
	m.Answered, m.Outcome = time.Now(), outcome(err)
	s.book.Enter(m)
	if err == nil {
		s.accepted.Add(1)
		return
	}
	s.refused.Add(1)
	s.mu.Lock()
	s.lastErr = err
	s.mu.Unlock()
}

func outcome(err error) ledger.Outcome {
	if err == nil {
		return ledger.Accepted
	}
	if _, ok := errors.AsType[*load.RefusedError](err); ok {
		return ledger.Refused
	}
	return ledger.Unknown
}

// pick draws users, each once, guests among them, and adds some that nobody
// is. What is stored is for more guests, because it is about them.
func (c *caller) pick() []hub.UserID {
	guests := 1
	if c.kind == withStore {
		guests = 2
	}
	users := pickFrom(nil, c.guests, guests)
	users = pickFrom(users, c.users, targets-len(users))
	for range strangers {
		users = append(users, hub.UserID(fmt.Sprintf("stranger%d", rand.IntN(1_000_000))))
	}
	return users
}

// pickFrom appends n of the users to picked, each once, or all if there are fewer.
func pickFrom(picked, users []hub.UserID, n int) []hub.UserID {
	drawn := make(map[int]bool, n)
	for len(drawn) < min(n, len(users)) {
		if i := rand.IntN(len(users)); !drawn[i] {
			drawn[i] = true
			picked = append(picked, users[i])
		}
	}
	return picked
}

// flood sends size bytes at a time to the same users, rate times a second,
// until ctx ends.
func (s *senders) flood(ctx context.Context, users []hub.UserID, size int, rate float64) {
	schedule := load.Schedule{Rate: rate, Duration: time.Hour, Callers: 1}
	schedule.Run(ctx, func(n int, due time.Time) func(context.Context) {
		m := &ledger.Message{Key: ledger.Key{Sender: s.count, N: n}, Users: users, Due: due}
		body := request(m, form{}, size)
		return func(ctx context.Context) {
			_, err := s.posters[0].Notify(context.WithoutCancel(ctx), body)
			s.enter(m, err)
		}
	})
}

// form is how a notification is to be sent, in the API's words; what is empty
// is left out.
type form struct {
	ID    string `json:"id,omitempty"`
	Class string `json:"class,omitempty"`
	Wait  string `json:"wait,omitempty"`
	Store string `json:"store,omitempty"`
}

// form is how m is sent by its sender's kind. Of what is stored every other
// one needs no acknowledgement and is found by its place.
func (c *caller) form(m *ledger.Message) form {
	var f form
	if c.named || c.kind == withID || c.kind == withStore {
		f.ID = fmt.Sprintf("drill-%d-%d", m.Sender, m.N)
	}
	switch c.kind {
	case withReport:
		f.Wait = waitFor
	case withStore:
		f.Store = storeFor
		if m.N%2 == 1 {
			f.Class = "droppable"
		}
	default:
	}
	return f
}

// request is the JSON of a notification, with so many bytes of padding.
func request(m *ledger.Message, f form, size int) []byte {
	body := struct {
		form

		Users    []hub.UserID  `json:"users"`
		Services []hub.Service `json:"services,omitempty"`
		Type     string        `json:"type"`
		Data     payload       `json:"data"`
	}{f, m.Users, nil, "drill", payload{Sender: m.Sender, N: m.N, Pad: strings.Repeat("x", size)}}
	if m.Service != "" {
		body.Services = []hub.Service{m.Service}
	}
	raw, _ := json.Marshal(body) // strings and numbers always marshal
	return raw
}
