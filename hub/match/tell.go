package match

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/hub"
)

// Kinds of notifications and of events for backends.
const (
	KindFound   = "match.found"
	KindOffered = "match.offered" // players only
	KindEnded   = "match.ended"
)

// from is the service in whose name players are told.
const from hub.Service = "homing"

const (
	// noteKept is how long what players are told waits for those whose connection
	// is broken.
	noteKept = time.Minute
	// tellers is how many notifications of one step are under way at a time.
	tellers = 32
)

// teller tells players and backends. It is safe for concurrent use.
type teller struct {
	notify  Notifier
	hooks   Hooks
	log     *slog.Logger
	metrics metrics
}

// foundNote is what one player is told of a match.
type foundNote struct {
	Match   string       `json:"match"`
	Queue   string       `json:"queue"`
	Room    string       `json:"room"`
	URL     string       `json:"url"`
	Ticket  string       `json:"ticket"`
	Team    int          `json:"team"`
	Players []hub.UserID `json:"players"`
}

// foundEvent is what backends are told of a match.
type foundEvent struct {
	Match   string         `json:"match"`
	Queue   string         `json:"queue"`
	Room    string         `json:"room"`
	Players []hub.UserID   `json:"players"`
	Teams   [][]hub.UserID `json:"teams"`
}

// offerNote is what players are told who are to accept a match.
type offerNote struct {
	Match   string `json:"match"`
	Queue   string `json:"queue"`
	Ticket  string `json:"ticket"` // of the queue
	Players int    `json:"players"`
	Seconds int    `json:"seconds"` // to accept in
}

// endedNote is what players and backends are told of a ticket that no match ended.
type endedNote struct {
	Ticket  string       `json:"ticket"`
	Queue   string       `json:"queue"`
	Players []hub.UserID `json:"players"`
	Why     Status       `json:"why"`
}

// noteID is the id of what user is told of a match: the same each time.
func noteID(match string, user hub.UserID) string {
	id := match + ":" + string(user)
	if len(id) <= hub.MaxID {
		return id
	}
	sum := sha256.Sum256([]byte(user))
	return match + ":" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// found tells the players of a match, and when all were told, backends. It may be
// called again: the notifications have the same ids.
func (t *teller) found(ctx context.Context, f *Found) error {
	e := foundEvent{Match: f.Match, Queue: f.Queue, Room: f.Room}
	for _, p := range f.Players {
		e.Players = append(e.Players, p.User)
		for len(e.Teams) <= p.Team {
			e.Teams = append(e.Teams, []hub.UserID{})
		}
		e.Teams[p.Team] = append(e.Teams[p.Team], p.User)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tellers)
	for _, p := range f.Players {
		g.Go(func() error {
			note := foundNote{Match: f.Match, Queue: f.Queue, Room: f.Room, URL: f.URL, Ticket: p.Ticket, Team: p.Team, Players: e.Players}
			err := t.note(ctx, noteID(f.Match, p.User), KindFound, note, p.User)
			if errors.Is(err, hub.ErrInvalid) { // another try would fail, too
				t.log.Error("a player cannot be told of a match", "match", f.Match, "user", p.User, "err", err)
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("announce match %s: %w", f.Match, err)
	}
	t.publish(KindFound, f.Room, e)
	return nil
}

// note sends one notification, which waits for a while for those who are away if
// there is room for it.
func (t *teller) note(ctx context.Context, id, kind string, data any, users ...hub.UserID) error {
	if t.notify == nil {
		return nil
	}
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	n := hub.Notification{ID: id, Users: users, Type: kind, From: from, Data: b, Class: hub.ClassMust, Store: noteKept}
	s, err := t.notify.Notify(ctx, &n)
	if _, full := errors.AsType[*hub.RoomError](err); full || errors.Is(err, hub.ErrInvalid) {
		n.Store = 0
		s, err = t.notify.Notify(ctx, &n)
	}
	if err == nil && s.Unavailable > 0 {
		err = fmt.Errorf("%w: %d users could not be looked up", hub.ErrUnavailable, s.Unavailable)
	}
	return err
}

func (t *teller) publish(kind, subject string, data any) {
	if t.hooks != nil {
		t.hooks.Publish(kind, subject, data) // what it refuses it counts
	}
}

// ended counts and tells of tickets that a script has ended: id, how and players,
// one after the other. Players who cannot be told now are not told.
func (t *teller) ended(ctx context.Context, q *Queue, told []any) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tellers)
	for i := 0; i+2 < len(told); i += 3 {
		e := endedNote{Ticket: text(told, i), Queue: q.Name, Why: Status(text(told, i+1)), Players: usersIn(text(told, i+2))}
		t.metrics.ended.WithLabelValues(q.Name, string(e.Why)).Inc()
		t.publish(KindEnded, e.Ticket, e)
		if e.Why == Canceled && len(e.Players) == 1 {
			continue // who wanted it knows
		}
		g.Go(func() error {
			if err := t.note(ctx, endID(e.Ticket), KindEnded, e, e.Players...); err != nil {
				t.log.Warn("players were not told that their ticket has ended", "ticket", e.Ticket, "why", e.Why, "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // what fails is logged
}

// endID is the id of what players are told of a ticket that has ended.
func endID(ticket string) string {
	sum := sha256.Sum256([]byte("ended " + ticket))
	return "end:" + base64.RawURLEncoding.EncodeToString(sum[:24])
}
