package lobby

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/load"
)

const (
	// Mean is that of the players' ratings, which are normally distributed.
	Mean = 1500
	// Deviation is their standard deviation.
	Deviation = 300
	// RareRating is one that a player in a thousand has or surpasses.
	RareRating = Mean + 3.0902*Deviation
	// rareEvery is how often a player of that rating is put, to be watched.
	rareEvery = 2 * time.Second

	// callers is how many calls are under way at a time: a second of a failover's
	// several, at 1,000 a second, and twice that.
	callers = 2048
	// cancelWithin is after how long at most a ticket that is to be canceled is.
	cancelWithin = 400 * time.Millisecond
)

// Options say what is asked for, and of whom.
type Options struct {
	APIs  []string // base URLs of the API servers
	Key   string   // with the scope match
	Queue string   // of two teams of one

	Rate     float64 // tickets a second
	Duration time.Duration
	Cancel   float64 // share of the tickets that are canceled again

	// Master is the data Redis that has the queue, Recent the key under which it
	// keeps the waits of those who were matched last.
	Master func(context.Context) (*redis.Client, error)
	Recent string

	Say func(format string, args ...any) // a line of progress
}

// Lobby is a load of tickets under way, and its books. Close it.
type Lobby struct {
	opts Options
	apis []*load.Poster

	mu      sync.Mutex
	tickets []*Ticket
	byID    map[string]*Ticket
	told    int // tickets whose players were told
	retried int // calls beyond a ticket's first
}

// Ticket is one ticket in the callers' books.
type Ticket struct {
	ID     string
	User   string
	Rating float64
	Due    time.Time // it was to be put
	Rare   bool      // it has RareRating
	Cancel bool      // it is to be canceled

	Taken    bool      // a server has said that it waits
	Refused  bool      // by the last answer, of one that was not taken
	Canceled string    // what its caller heard: Canceled, Ended; empty: nothing
	Told     time.Time // when its players were told of a match; zero: nobody has seen that

	// At the end.
	Asked  bool
	Status string // empty: no server knows of it
	Match  *load.Match
}

// What callers who cancel hear.
const (
	Canceled = "cancelled"
	Ended    = "ended" // before
)

// Open prepares a load. It calls nobody.
func Open(o Options) *Lobby {
	l := &Lobby{opts: o, byID: make(map[string]*Ticket)}
	for _, base := range o.APIs {
		l.apis = append(l.apis, load.NewPoster(base, o.Key, callTimeout))
	}
	return l
}

// Close ends the connections to the servers.
func (l *Lobby) Close() {
	for _, a := range l.apis {
		a.Close()
	}
}

// Run puts the tickets of the schedule, and returns when all were answered or given
// up, and how long that took.
func (l *Lobby) Run(ctx context.Context) (took time.Duration) {
	watching, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { l.progress(watching) })
	began := time.Now()
	load.Schedule{Rate: l.opts.Rate, Duration: l.opts.Duration, Callers: callers}.Run(ctx, l.prepare)
	took = time.Since(began)
	stop()
	beside.Wait()
	return took
}

// prepare draws the next ticket, writes its request, and returns the call.
func (l *Lobby) prepare(n int, due time.Time) func(context.Context) {
	every := max(1, int(l.opts.Rate*rareEvery.Seconds()))
	name := fmt.Sprintf("b%d", n)
	t := &Ticket{
		ID: l.opts.Queue + ":" + name, User: fmt.Sprintf("player%d", n), Due: due, Rare: n%every == every/2,
		Rating: Mean + Deviation*rand.NormFloat64(),
	}
	if t.Rare {
		t.Rating = RareRating
	} else {
		t.Cancel = rand.Float64() < l.opts.Cancel
	}
	body, err := json.Marshal(map[string]any{"id": name, "queue": l.opts.Queue, "players": []string{t.User}, "rating": t.Rating})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tickets = append(l.tickets, t)
	l.byID[t.ID] = t
	return func(ctx context.Context) {
		l.put(ctx, n, t, body)
		if t.Cancel && t.Taken {
			l.cancel(ctx, n, t)
		}
	}
}

// progress says once a second how it goes.
func (l *Lobby) progress(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	put, told := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		nowPut, nowTold, again := len(l.tickets), l.told, l.retried
		l.mu.Unlock()
		l.opts.Say("  %5d tickets/s put, %5d/s matched, %d not matched so far, %d calls made again", nowPut-put, nowTold-told, nowPut-nowTold, again)
		put, told = nowPut, nowTold
	}
}
