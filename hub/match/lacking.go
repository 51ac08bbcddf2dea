package match

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
)

const (
	//bound:match-lacking

	// LackingLasts is how long a room is believed to lack players; who still does
	// says so again, three times as often.
	LackingLasts = 15 * time.Second
	// MaxLacking is how many rooms of one queue may lack players at a time.
	MaxLacking = 512
)

// ErrOldEpoch marks what the owner of a room has said after another has taken the
// room over.
var ErrOldEpoch = errors.New("the room has another owner")

// lack is what Redis keeps of a Backfill.
type lack struct {
	Free   []int    `json:"free"`
	Rating float64  `json:"rating"`
	Labels []string `json:"labels,omitempty"`
}

// Lack notes what a room lacks, for LackingLasts. It is filled by one match at a
// time, and when it was filled it lacks nobody until it speaks again; what a later
// epoch has said stands before that of an earlier one. Since does not count: a room
// lacks players since it first said so.
//
// Errors: ErrNoQueue; ErrOldEpoch; a *hub.FieldError; a *hub.RoomError when too many
// rooms lack players; hub.ErrUnavailable.
func (t *Tickets) Lack(ctx context.Context, queue string, b *Backfill) error {
	l := t.queues[queue]
	if l == nil {
		return fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	if err := l.checkBackfill(b); err != nil {
		return err
	}
	what, _ := json.Marshal(lack{Free: b.Free, Rating: b.Rating, Labels: b.Labels}) // numbers and strings always marshal
	return l.lack(ctx, b, LackingLasts, what)
}

// Whole notes that a room lacks nobody any more.
func (t *Tickets) Whole(ctx context.Context, queue, room string, epoch uint64) error {
	l := t.queues[queue]
	if l == nil {
		return fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	return l.lack(ctx, &Backfill{Room: room, Epoch: epoch}, 0, nil)
}

func (l *line) lack(ctx context.Context, b *Backfill, lasts time.Duration, what []byte) error {
	reply, err := l.run(ctx, lackScript, b.Room, b.Epoch, lasts.Milliseconds(), what, MaxLacking)
	if err != nil {
		return fmt.Errorf("room %s: say what it lacks: %w", b.Room, err)
	}
	switch reply {
	case int64(0):
		return fmt.Errorf("room %s, epoch %d: %w", b.Room, b.Epoch, ErrOldEpoch)
	case int64(-1):
		return &hub.RoomError{Pot: hub.PotMatch, After: LackingLasts, Detail: fmt.Sprintf("%d rooms of queue %s lack players", MaxLacking, l.Name)}
	}
	return nil
}

// checkBackfill reports what keeps b from being filled by matches of q.
func (q *Queue) checkBackfill(b *Backfill) error {
	sum := 0
	for i, n := range b.Free {
		if n < 0 || n > q.TeamSize {
			return hub.Invalid(fmt.Sprintf("free[%d]", i), "%d, want 0 to %d", n, q.TeamSize)
		}
		sum += n
	}
	switch {
	case hub.UserID(b.Room).Check() != nil:
		return hub.Invalid("room", "%q, want printable ASCII without space", b.Room)
	case len(b.Free) != q.Teams || sum == 0:
		return hub.Invalid("free", "%v, want %d teams, and a free seat", b.Free, q.Teams)
	case len(b.Labels) > MaxLabels:
		return hub.Invalid("labels", "%d labels, want at most %d", len(b.Labels), MaxLabels)
	case !(b.Rating >= -maxRating && b.Rating <= maxRating):
		return hub.Invalid("rating", "%v, want a number between -%g and %g", b.Rating, maxRating, maxRating)
	}
	return checkLabels(b.Labels)
}

// parseLacking reads what lack.lua has written. lapses is until when it is
// believed.
func parseLacking(room, s string) (b *Backfill, lapses time.Time, err error) {
	head, rest, _ := strings.Cut(s, "\n")
	fields := strings.Fields(head)
	if len(fields) != 3 {
		return nil, time.Time{}, fmt.Errorf("room %s: not what a room lacks", room)
	}
	var what lack
	epoch, err := strconv.ParseUint(fields[0], 10, 64)
	until, err2 := strconv.ParseInt(fields[1], 10, 64)
	since, err3 := strconv.ParseInt(fields[2], 10, 64)
	if err := errors.Join(err, err2, err3, json.Unmarshal([]byte(rest), &what)); err != nil {
		return nil, time.Time{}, fmt.Errorf("room %s: %w", room, err)
	}
	b = &Backfill{Room: room, Epoch: epoch, Free: what.Free, Rating: what.Rating, Labels: what.Labels, Since: time.UnixMilli(since)}
	return b, time.UnixMilli(until), nil
}
