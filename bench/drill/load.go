package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/hub"
)

const (
	targets     = 12 // online users that a notification names
	strangers   = 1  // users that do not exist, named besides
	padding     = 120
	postTimeout = 5 * time.Second
)

// senders are the game backends of a drill. Each sends one notification after
// another to one API server, on its own open-loop schedule.
type senders struct {
	book     *ledger.Book
	users    []hub.UserID
	posters  []*load.Poster // one per API server
	each     float64        // notifications per second of one sender
	count    int
	named    bool // notifications have ids, and are tried again at another server
	running  sync.WaitGroup
	accepted atomic.Int64
	refused  atomic.Int64 // or not answered

	mu      sync.Mutex
	lastErr error // of the last one not accepted
}

func newSenders(book *ledger.Book, users []hub.UserID, apis []string, key string, rate float64, count int) *senders {
	s := &senders{book: book, users: users, each: rate / float64(count), count: count}
	for _, url := range apis {
		s.posters = append(s.posters, load.NewPoster(url, key, postTimeout))
	}
	return s
}

// start sends until ctx ends; wait then waits for the answers still to come.
func (s *senders) start(ctx context.Context) {
	for i := range s.count {
		s.running.Go(func() { s.send(ctx, i) })
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
func (s *senders) send(ctx context.Context, sender int) {
	apart := time.Duration(float64(sender) / float64(s.count) / s.each * float64(time.Second))
	if !load.SleepUntil(ctx, time.Now().Add(apart)) {
		return
	}
	schedule := load.Schedule{Rate: s.each, Duration: time.Hour, Callers: 1}
	schedule.Run(ctx, func(n int, due time.Time) func(context.Context) {
		return func(ctx context.Context) { s.post(context.WithoutCancel(ctx), ledger.Key{Sender: sender, N: n}, due) }
	})
}

// post sends one notification and enters it with its answer. Every fourth is
// for one service's connections only.
func (s *senders) post(ctx context.Context, key ledger.Key, due time.Time) {
	m := &ledger.Message{Key: key, API: key.Sender % len(s.posters), Users: s.pick(), Due: due}
	if key.N%4 == 3 {
		m.Service = services[1+key.N/4%(len(services)-1)]
	}
	s.enter(m, s.call(ctx, m))
}

// tryFor is how long a caller tries again to get an answer for a notification
// that has a name.
const tryFor = 3 * time.Second

// call posts m, until it is accepted if it has a name.
func (s *senders) call(ctx context.Context, m *ledger.Message) error {
	if !s.named {
		_, err := s.posters[m.API].Notify(ctx, request(m, "", padding))
		return err
	}
	body := request(m, fmt.Sprintf("drill-%d-%d", m.Sender, m.N), padding)
	for end := time.Now().Add(tryFor); ; {
		_, err := s.posters[m.API].Notify(ctx, body)
		if err == nil || time.Now().After(end) {
			return err
		}
		if outcome(err) == ledger.Unknown { // nobody there, or gone in the midst of it
			m.API = (m.API + 1) % len(s.posters)
		}
		if !load.SleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return err
		}
	}
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

// pick draws users, each once, and adds some that nobody is.
func (s *senders) pick() []hub.UserID {
	picked := make(map[int]bool, targets)
	var users []hub.UserID
	for len(users) < min(targets, len(s.users)) {
		if i := rand.IntN(len(s.users)); !picked[i] {
			picked[i] = true
			users = append(users, s.users[i])
		}
	}
	for range strangers {
		users = append(users, hub.UserID(fmt.Sprintf("stranger%d", rand.IntN(1_000_000))))
	}
	return users
}

// flood sends size bytes at a time to the same users, rate times a second,
// until ctx ends.
func (s *senders) flood(ctx context.Context, users []hub.UserID, size int, rate float64) {
	schedule := load.Schedule{Rate: rate, Duration: time.Hour, Callers: 1}
	schedule.Run(ctx, func(n int, due time.Time) func(context.Context) {
		m := &ledger.Message{Key: ledger.Key{Sender: s.count, N: n}, Users: users, Due: due}
		body := request(m, "", size)
		return func(ctx context.Context) {
			_, err := s.posters[0].Notify(context.WithoutCancel(ctx), body)
			s.enter(m, err)
		}
	})
}

// request is the JSON of a notification, with so many bytes of padding; an
// empty id is none.
func request(m *ledger.Message, id string, size int) []byte {
	body := struct {
		ID       string        `json:"id,omitempty"`
		Users    []hub.UserID  `json:"users"`
		Services []hub.Service `json:"services,omitempty"`
		Type     string        `json:"type"`
		Data     payload       `json:"data"`
	}{id, m.Users, nil, "drill", payload{Sender: m.Sender, N: m.N, Pad: strings.Repeat("x", size)}}
	if m.Service != "" {
		body.Services = []hub.Service{m.Service}
	}
	raw, _ := json.Marshal(body) // strings and numbers always marshal
	return raw
}
