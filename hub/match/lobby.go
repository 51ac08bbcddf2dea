package match

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// ErrNotAllowed marks a queue that players may not ask for by themselves.
var ErrNotAllowed = errors.New("players do not ask for matches of the queue themselves")

// beatPeriod is how often the tickets of a lobby are kept alive, several times
// within the shortest time after which they are lost.
const beatPeriod = MinHeartbeat / 3

// Lobby is the players who are connected to this process and wait for a match. It
// keeps their tickets alive for as long as they are. It is safe for concurrent use.
type Lobby struct {
	tickets *Tickets
	log     *slog.Logger

	mu      sync.Mutex
	waiting map[waiter]*Ticket
}

// waiter is a player in a queue.
//
//bound:lobby
type waiter struct {
	queue string
	user  hub.UserID
}

// NewLobby returns a lobby of tickets' queues.
func NewLobby(t *Tickets, log *slog.Logger) *Lobby {
	return &Lobby{tickets: t, log: log, waiting: make(map[waiter]*Ticket)}
}

// Wait has a player wait in a queue, with the ticket that it has there or a new one.
// The errors are those of Tickets.Put and ErrNotAllowed.
func (l *Lobby) Wait(ctx context.Context, queue string, user hub.UserID, rating float64, labels []string) error {
	q := l.tickets.Queue(queue)
	switch {
	case q == nil:
		return fmt.Errorf("%w: %q", ErrNoQueue, queue)
	case !q.ByPlayers:
		return ErrNotAllowed
	}
	id, err := TicketID(queue, "")
	if err != nil {
		return err
	}
	x := &Ticket{ID: id, Players: []hub.UserID{user}, Rating: rating, Labels: labels, Since: time.Now()}
	state, made, err := l.tickets.Put(ctx, queue, x, true)
	if err != nil {
		return err
	}
	if !made {
		x = &state.Ticket
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[waiter{queue, user}] = x
	return nil
}

// Leave ends the wait of a player. The error wraps ErrNoTicket when it waits no
// more, as when a match was found, or ErrUndecided.
func (l *Lobby) Leave(ctx context.Context, queue string, user hub.UserID) error {
	if l.tickets.Queue(queue) == nil {
		return fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	state, err := l.tickets.Withdraw(ctx, queue, user)
	if err == nil && state.Status != Canceled {
		err = fmt.Errorf("%w: %s", ErrNoTicket, state.Status)
	}
	if err == nil || errors.Is(err, ErrNoTicket) {
		l.Gone(queue, user)
	}
	return err
}

// Accept is a player's answer to a match that it is asked to accept; see
// Tickets.Accept.
func (l *Lobby) Accept(ctx context.Context, queue string, user hub.UserID, yes bool) error {
	l.mu.Lock()
	x := l.waiting[waiter{queue, user}]
	l.mu.Unlock()
	if x == nil {
		return ErrNoTicket
	}
	return l.tickets.Accept(ctx, x.ID, user, yes)
}

// Waits reports whether a player waits in a queue here, as far as is known.
func (l *Lobby) Waits(queue string, user hub.UserID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[waiter{queue, user}] != nil
}

// Gone says that a player is not connected here any more: its ticket is lost, unless
// it comes to any process before that.
func (l *Lobby) Gone(queue string, user hub.UserID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, waiter{queue, user})
}

// Run keeps the tickets alive until ctx ends.
func (l *Lobby) Run(ctx context.Context) error {
	tick := time.NewTicker(beatPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for queue, users := range l.byQueue() {
			if err := l.beat(ctx, queue, users); err != nil && ctx.Err() == nil {
				l.log.Warn("match: tickets were not kept alive", "queue", queue, "players", len(users), "err", err)
			}
		}
	}
}

func (l *Lobby) byQueue() map[string][]hub.UserID {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string][]hub.UserID)
	for w := range l.waiting {
		all[w.queue] = append(all[w.queue], w.user)
	}
	return all
}

// beat shows that players are here, and forgets those whose tickets have ended. A
// ticket may be a party's, of which others are here, too.
func (l *Lobby) beat(ctx context.Context, queue string, users []hub.UserID) error {
	l.mu.Lock()
	var here []hub.UserID
	var all []*Ticket
	for _, u := range users {
		if x := l.waiting[waiter{queue, u}]; x != nil {
			here, all = append(here, u), append(all, x)
		}
	}
	l.mu.Unlock()
	signs, err := l.tickets.Beat(ctx, queue, all)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range signs {
		w := waiter{queue, here[i]}
		if s.Status.Ended() && l.waiting[w] == all[i] {
			delete(l.waiting, w)
		}
	}
	return err
}
