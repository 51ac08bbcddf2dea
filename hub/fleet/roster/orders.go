package roster

import (
	"context"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

// Fence says on whose behalf an order is given: an operator's, with the zero Fence, or
// that of the fleet's leader, as long as its term lasts.
type Fence struct{ Term int64 }

func (f Fence) arg() string {
	if f.Term == 0 {
		return ""
	}
	return strconv.FormatInt(f.Term, 10)
}

const (
	maxID  = 128 // bytes of ids
	maxWhy = 1024
)

// Drain orders a node to send its players away. Given again with the same ID it changes
// rate, deadline and reason of the drain that goes on; another ID replaces it. Since is
// set where it is zero. Errors: ErrNoNode; ErrFenced; ErrOperator when a leader would
// change an operator's order; a *hub.FieldError; those that wrap hub.ErrUnavailable: the
// order may have been given.
func (r *Roster) Drain(ctx context.Context, by Fence, node string, d fleet.Drain) error {
	switch {
	case d.ID == "" || len(d.ID) > maxID:
		return hub.Invalid("id", "%d bytes, want 1 to %d", len(d.ID), maxID)
	case d.Rate < 0 || d.Rate > 1<<20:
		return hub.Invalid("rate", "%d: want 0 to %d connections per second", d.Rate, 1<<20)
	case d.Deadline.IsZero():
		return hub.Invalid("deadline", "want a time")
	case len(d.Why) > maxWhy:
		return hub.Invalid("why", "%d bytes, want at most %d", len(d.Why), maxWhy)
	}
	if d.Since.IsZero() {
		d.Since = time.Now()
	}
	d.Since, d.Deadline = d.Since.UTC().Round(time.Millisecond), d.Deadline.UTC().Round(time.Millisecond)
	text, err := json.Marshal(&d)
	if err != nil {
		return hub.Invalid("deadline", "%v", err)
	}
	return r.order(ctx, node, by, "drain", string(text), d.ID)
}

// Undrain ends a node's drain, if it has one. The errors are those of Drain.
func (r *Roster) Undrain(ctx context.Context, by Fence, node string) error {
	return r.order(ctx, node, by, "undrain")
}

// Mark says that a node is red and why, or with an empty red that it answers. A node
// stays marked until it is marked otherwise. The errors are those of Drain.
func (r *Roster) Mark(ctx context.Context, by Fence, node, red string) error {
	return r.order(ctx, node, by, "mark", red[:min(len(red), maxWhy)])
}

// probingFor is how long Probing holds.
const probingFor = 10 * time.Second

// Probing says that somebody looks whether nodes answer: a front that comes within ten
// seconds from now on is starting until it has been marked as one that answers. Those that
// are there stay as they are. The errors are those of Drain.
func (r *Roster) Probing(ctx context.Context, by Fence) error {
	return r.order(ctx, "", by, "probing", "", probingFor.Milliseconds())
}

func (r *Roster) order(ctx context.Context, node string, by Fence, what ...any) error {
	reply, err := r.copied(ctx, append([]any{node, by.arg()}, what...)...)
	if err != nil {
		return err
	}
	switch reply {
	case "none":
		return ErrNoNode
	case "fenced":
		return ErrFenced
	case "operator":
		return ErrOperator
	}
	return nil
}
