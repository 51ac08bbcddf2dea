package lobby

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/homing/homing/bench/load"
)

const (
	// callTimeout is how long a caller waits for one answer: longer than a server
	// tries to write.
	callTimeout = 6 * time.Second
	// patience is how long a caller goes on asking, one server after the other.
	patience = 30 * time.Second
	// again is how long it waits before it asks another server.
	again = 50 * time.Millisecond
)

// passes reports whether another try, or another server, may do better.
func passes(err error) bool {
	refused, ok := errors.AsType[*load.RefusedError](err)
	return err != nil && (!ok || refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusTooManyRequests)
}

// try makes a call at the servers in turn, beginning with one, until it is answered
// for good or the caller's patience ends.
func (l *Lobby) try(ctx context.Context, first int, call func(*load.Poster) error) error {
	began := time.Now()
	for n := first; ; n++ {
		err := call(l.apis[n%len(l.apis)])
		if !passes(err) || time.Since(began) > patience || ctx.Err() != nil {
			return err
		}
		l.mu.Lock()
		l.retried++
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}

// put has a ticket wait. Each try has the same id, so that it cannot wait twice.
func (l *Lobby) put(ctx context.Context, n int, t *Ticket, body []byte) {
	err := l.try(ctx, n, func(p *load.Poster) error {
		_, err := p.PutTicket(ctx, body)
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Taken = err == nil
	_, t.Refused = errors.AsType[*load.RefusedError](err)
}

var errUndecided = errors.New("a match is being made with the ticket")

// cancel cancels a ticket after a moment, until it is known what came first.
func (l *Lobby) cancel(ctx context.Context, n int, t *Ticket) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(rand.N(cancelWithin)):
	}
	heard := ""
	_ = l.try(ctx, n, func(p *load.Poster) error {
		_, err := p.CancelTicket(ctx, t.ID)
		refused, _ := errors.AsType[*load.RefusedError](err)
		switch {
		case err == nil:
			heard = Canceled
		case refused == nil || refused.Status != http.StatusConflict:
		case refused.Code() == "ticket_claimed":
			return errUndecided
		default:
			heard = Ended
		}
		return err
	}) // what nobody has said is not in the books
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Canceled = heard
}
