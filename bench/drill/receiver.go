package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/homing/homing/hub/hook/webhook"
)

// receiver is a game backend that keeps account of the events that it took. It is
// safe for concurrent use. Close it.
type receiver struct {
	url, secret string
	verifier    *standardwebhooks.Webhook
	server      *http.Server
	served      sync.WaitGroup

	mu       sync.Mutex
	delay    time.Duration
	status   int
	arrivals []arrival
	moves    map[string]map[string]*move // of users, by event
	seen     map[string]bool             // events by their ids
	requests int                         // that were taken
	refused  int                         // that were not signed
}

// told is the data of the notifications that are stored, and comes back in events.
type told struct {
	User int `json:"user"`
	N    int `json:"n"` // of the user's, from 1
}

// arrival is an event that came, the first time or again.
type arrival struct {
	told
	repeat bool
	at     time.Time
}

func newReceiver() (*receiver, error) {
	b := &receiver{secret: webhook.NewSecret(), status: http.StatusOK, seen: make(map[string]bool)}
	var err error
	if b.verifier, err = standardwebhooks.NewWebhook(b.secret); err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen as a game backend: %w", err)
	}
	b.url = "http://" + ln.Addr().String() + "/"
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	b.served.Go(func() { _ = b.server.Serve(ln) })
	return b, nil
}

func (b *receiver) close() {
	_ = b.server.Close()
	b.served.Wait()
}

// set says how long requests take from now on, and what is answered.
func (b *receiver) set(delay time.Duration, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delay, b.status = delay, status
}

func (b *receiver) behavior() (time.Duration, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.delay, b.status
}

// hookEvent is an event, alone or in a batch.
type hookEvent struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	At   time.Time `json:"timestamp"`
	Data struct {
		User         string `json:"user"` // of user.online and user.offline
		Notification struct {
			Data told `json:"data"`
		} `json:"notification"`
	} `json:"data"`
}

func (b *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it was broken off
	}
	if err := b.verifier.Verify(body, r.Header); err != nil {
		b.mu.Lock()
		b.refused++
		b.mu.Unlock()
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	delay, status := b.behavior()
	if delay > 0 && pause(r.Context(), delay) != nil {
		return
	}
	if status == http.StatusOK {
		b.take(r.Header.Get("webhook-id"), body)
	}
	w.WriteHeader(status)
}

// take notes the events of a request.
func (b *receiver) take(id string, body []byte) {
	var request struct {
		hookEvent
		Events []hookEvent `json:"events"`
	}
	if json.Unmarshal(body, &request) != nil {
		return
	}
	events := request.Events
	if events == nil {
		request.ID = id
		events = []hookEvent{request.hookEvent}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	for _, e := range events {
		if e.Type == "user.online" || e.Type == "user.offline" {
			b.moved(e)
			continue
		}
		b.arrivals = append(b.arrivals, arrival{told: e.Data.Notification.Data, repeat: b.seen[e.ID], at: time.Now()})
		b.seen[e.ID] = true
	}
}

// move is that a user came or went, by the word of an event.
type move struct {
	online  bool
	at      time.Time
	repeats int
}

func (m move) String() string {
	return fmt.Sprintf("%s online %v (%d repeats)", m.at.Format("04:05.000000"), m.online, m.repeats)
}

// moved notes an event about a user; mu is held.
func (b *receiver) moved(e hookEvent) {
	of := b.moves[e.Data.User]
	if of == nil {
		of = make(map[string]*move)
		if b.moves == nil {
			b.moves = make(map[string]map[string]*move)
		}
		b.moves[e.Data.User] = of
	}
	if m := of[e.ID]; m != nil {
		m.repeats++
		return
	}
	of[e.ID] = &move{online: e.Type == "user.online", at: e.At}
	b.seen[e.ID] = true
}

// movesOf are the moves of a user in the order of their times.
func (b *receiver) movesOf(user string) (all []move) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.moves[user] {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b move) int { return a.at.Compare(b.at) })
	return all
}

// distinct is how many different events came.
func (b *receiver) distinct() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

// hearing is what a receiver's account comes to.
type hearing struct {
	told      int // different events, of those that were posted
	lost      int
	repeated  int
	reordered int // after a later one of the user
	strange   int // two events of one notification, or of none
	requests  int
	refused   int
	gap       time.Duration // the longest without an event
}

// judge compares what came with what was accepted, by user. The last of a user may
// have come without having been accepted.
func (b *receiver) judge(posted []int) (v hearing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v.requests, v.refused = b.requests, b.refused
	last, came := make([]int, len(posted)), make([]map[int]bool, len(posted))
	var before time.Time
	for _, a := range b.arrivals {
		if !before.IsZero() {
			v.gap = max(v.gap, a.at.Sub(before))
		}
		before = a.at
		switch {
		case a.repeat:
			v.repeated++
			continue
		case a.User < 0 || a.User >= len(posted) || a.N < 1 || a.N > posted[a.User]+1 || came[a.User][a.N]:
			v.strange++
			continue
		case a.N < last[a.User]:
			v.reordered++
		}
		last[a.User] = max(last[a.User], a.N)
		if came[a.User] == nil {
			came[a.User] = make(map[int]bool)
		}
		came[a.User][a.N] = true
	}
	for user, n := range posted {
		for i := 1; i <= n; i++ {
			if came[user][i] {
				v.told++
			} else {
				v.lost++
			}
		}
	}
	return v
}
