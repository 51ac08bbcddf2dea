package lobby

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/load"
)

const (
	// askers is how many tickets are asked for at a time.
	askers = 32
	// remembered is how many tickets' ends a queue remembers, less a few.
	remembered = 60_000
	// askEarly is how old a ticket is that is asked for while others are still put,
	// because too many will be.
	askEarly = 40 * time.Second
	// drainPause is between two looks at who waits still.
	drainPause = 250 * time.Millisecond
)

// Books asks for the queue's.
func (l *Lobby) Books(ctx context.Context) (q load.Queue, err error) {
	err = l.try(ctx, 0, func(p *load.Poster) (err error) {
		q, err = p.Queue(ctx, l.opts.Queue)
		return err
	})
	if err != nil {
		return q, fmt.Errorf("ask for the books: %w", err)
	}
	return q, nil
}

// Drain waits until nobody waits who could be matched: until one is left, or none. It
// waits for so long at most.
func (l *Lobby) Drain(ctx context.Context, most time.Duration) error {
	for began := time.Now(); ; {
		q, err := l.Books(ctx)
		if err != nil || q.Tickets < 2 || time.Since(began) > most {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainPause):
		}
	}
}

// AskEarly asks for tickets that would be forgotten before the load ends, until ctx
// does; there are none in a load that is small enough.
func (l *Lobby) AskEarly(ctx context.Context) error {
	if l.opts.Rate*l.opts.Duration.Seconds() <= remembered {
		return nil
	}
	var g errgroup.Group
	g.SetLimit(askers / 4)
	for n := 0; ctx.Err() == nil; {
		t := l.old(n)
		if t == nil {
			select {
			case <-ctx.Done():
			case <-time.After(drainPause):
			}
			continue
		}
		g.Go(func() error {
			if err := l.ask(ctx, n, t); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
		n++
	}
	return g.Wait()
}

// old returns ticket number n if it is old enough to be asked for early, else nil.
func (l *Lobby) old(n int) *Ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= len(l.tickets) || time.Since(l.tickets[n].Due) < askEarly {
		return nil
	}
	return l.tickets[n]
}

// AskAll asks what has become of all tickets that were not asked for.
func (l *Lobby) AskAll(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(askers)
	for n, t := range l.tickets {
		if !t.Asked {
			g.Go(func() error { return l.ask(ctx, n, t) })
		}
	}
	return g.Wait()
}

// ask asks for one ticket. One that has not ended is asked for again.
func (l *Lobby) ask(ctx context.Context, n int, t *Ticket) error {
	var now load.Ticket
	err := l.try(ctx, n, func(p *load.Poster) (err error) {
		now, err = p.Ticket(ctx, t.ID)
		return err
	})
	if refused, ok := errors.AsType[*load.RefusedError](err); ok && refused.Status == http.StatusNotFound {
		err, now = nil, load.Ticket{}
	}
	if err != nil {
		return fmt.Errorf("ask for a ticket: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Status, t.Match = now.Status, now.Match
	t.Asked = now.Status != "" && !waits(now.Status)
	return nil
}

// waits reports whether a ticket of that status has not ended.
func waits(status string) bool {
	return status == "waiting" || status == "claimed" || status == "offered"
}
