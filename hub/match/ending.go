package match

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/outage"
)

const (
	// cancelPatience is how long Cancel waits for a match that is being made.
	cancelPatience = 3 * time.Second
	// cancelPause is between two looks at it.
	cancelPause = 50 * time.Millisecond
)

// Cancel ends a ticket, and says how it has ended: as Canceled, now or before, or
// otherwise, when that came first. While a room is being opened for it nobody knows
// which comes first: Cancel waits for a moment, and then returns ErrUndecided. The
// wish stands: the ticket does not wait again. The error wraps ErrNoTicket when
// nothing is known of it.
func (t *Tickets) Cancel(ctx context.Context, id string) (State, error) {
	l, err := t.find(id)
	if err != nil {
		return State{}, err
	}
	for start := time.Now(); ; {
		replies, err := l.copied(ctx, cancelScript, []any{id})
		if err != nil {
			return State{}, fmt.Errorf("cancel ticket %s: %w", id, err)
		}
		said := list(replies[0])
		t.tell.ended(ctx, l.Queue, list(part(said, 3)))
		switch text(said, 0) {
		case "none":
			return State{}, fmt.Errorf("%w: %q", ErrNoTicket, id)
		case "ended":
			return State{Ticket: Ticket{ID: id}, Queue: l.Name, Status: Status(text(said, 1))}, nil
		}
		if time.Since(start) > cancelPatience {
			return State{}, fmt.Errorf("cancel ticket %s: %w", id, ErrUndecided)
		}
		select {
		case <-ctx.Done():
			return State{}, fmt.Errorf("cancel ticket %s: %w", id, ErrUndecided)
		case <-time.After(cancelPause):
		}
	}
}

// Withdraw cancels the ticket of a player, all of it when it is a party's. The
// error wraps ErrNoTicket when the player has none.
func (t *Tickets) Withdraw(ctx context.Context, queue string, user hub.UserID) (State, error) {
	l := t.queues[queue]
	if l == nil {
		return State{}, fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	var id string
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		id, err = c.HGet(ctx, l.keys[playersKey], string(user)).Result()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return State{}, fmt.Errorf("%w: of player %s", ErrNoTicket, user)
	case err != nil:
		return State{}, outage.During("look for the ticket of player "+string(user), err)
	}
	return t.Cancel(ctx, id)
}

// Accept takes the answer of a ticket's player, or with an empty user of all of
// them, to the match that they are asked to accept. Who says no ends the ticket as
// Declined at once, and the others of the match wait again.
//
// Errors: ErrNoTicket, ErrNotAsked, ErrStranger, hub.ErrUnavailable.
func (t *Tickets) Accept(ctx context.Context, id string, user hub.UserID, yes bool) error {
	l, err := t.find(id)
	if err != nil {
		return err
	}
	answer := map[bool]string{true: "yes", false: "no"}[yes]
	replies, err := l.copied(ctx, acceptScript, []any{id, answer, string(user)})
	if err != nil {
		return fmt.Errorf("answer for ticket %s: %w", id, err)
	}
	said := list(replies[0])
	t.tell.ended(ctx, l.Queue, list(part(said, 1)))
	switch text(said, 0) {
	case "taken":
		return nil
	case "none":
		return fmt.Errorf("%w: %q", ErrNoTicket, id)
	case "stranger":
		return fmt.Errorf("%w: %s", ErrStranger, user)
	}
	return fmt.Errorf("%w: %q", ErrNotAsked, id)
}

// part is one part of a reply.
func part(l []any, i int) any {
	if i >= len(l) {
		return nil
	}
	return l[i]
}
