package presence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// debts are the processes that a word of friends did not reach: they had too much
// unconfirmed, or did not confirm it within the relay's window. Each is told as soon
// as it takes it that it is to read anew who is online, so that its users know the
// truth after all. It is safe for concurrent use.
type debts struct {
	relay  Sender
	census Census

	mu   sync.Mutex
	owed map[hub.ProcessID]struct{} // at most as many as there are processes
}

// payEvery is how often it is tried.
const payEvery = time.Second

func (d *debts) owe(p hub.ProcessID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.owed == nil {
		d.owed = make(map[hub.ProcessID]struct{})
	}
	d.owed[p] = struct{}{}
}

// GivenUp notes those that have not confirmed a word; it is for relay.Upper.
func (d *debts) GivenUp(gone []relay.Abandoned) {
	for i := range gone {
		if Is(gone[i].Body) {
			d.owe(gone[i].To)
		}
	}
}

// send sends out, and notes who was not sent it. With an error nobody was sent any of
// it, or that is not known.
func (d *debts) send(ctx context.Context, out []relay.Outgoing) (refused int, err error) {
	if len(out) == 0 {
		return 0, nil
	}
	if err := d.relay.Send(ctx, out); err != nil && !errors.Is(err, relay.ErrFull) {
		return 0, fmt.Errorf("presence: telling %d processes: %w", len(out), err)
	}
	for i := range out {
		if out[i].Refused {
			refused++
			d.owe(out[i].To)
		}
	}
	return refused, nil
}

// pay tells those that live and are owed something.
func (d *debts) pay(ctx context.Context) {
	d.mu.Lock()
	all := slices.Collect(maps.Keys(d.owed))
	d.owed = nil
	d.mu.Unlock()
	var out []relay.Outgoing
	for _, p := range all {
		if d.census.Lives(p) {
			out = append(out, relay.Outgoing{To: p, Body: (&Message{Reread: true}).Bytes()})
		}
	}
	if _, err := d.send(ctx, out); err != nil {
		for i := range out {
			d.owe(out[i].To)
		}
	}
}
