package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/relay"
)

// Census knows the processes that live; see lease.Census.
type Census interface {
	Refresh(ctx context.Context) error
	Processes(role string) []hub.Process
	Lives(p hub.ProcessID) bool
}

// Mourner tells of the users of processes that died.
type Mourner struct {
	debts

	cfg   Config
	hooks *hook.Publisher

	// published has those whose event was published by a call that has failed, by the
	// event's id, and what says whether Redis has it: it is not published again.
	once      sync.Mutex
	published map[string]func() bool
}

// NewMourner returns a Mourner. cfg must be enabled; hooks may be nil.
func NewMourner(cfg Config, c Census, rl Sender, hooks *hook.Publisher) *Mourner {
	return &Mourner{debts: debts{relay: rl, census: c}, cfg: cfg, hooks: hooks, published: make(map[string]func() bool)}
}

// Run makes good for what did not reach a front process, until ctx ends. It returns
// nil then.
func (x *Mourner) Run(ctx context.Context) error {
	tick := time.NewTicker(payEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			x.pay(ctx)
		}
	}
}

// mournFor is how long it may take to tell of some users.
const mournFor = 10 * time.Second

var errNoRoom = errors.New("there is no room for the events")

// Tell is for index.Index.Tell. It returns when Redis has the events and the front
// processes were sent the names, at most 10 s later. When it fails it is to be called
// again: the events have the ids that they had.
func (x *Mourner) Tell(ctx context.Context, ended []index.Ended) error {
	ctx, cancel := context.WithTimeout(ctx, mournFor)
	defer cancel()
	if x.cfg.On {
		if err := x.publish(ctx, ended); err != nil {
			return err
		}
	}
	if x.cfg.Friends {
		if err := x.name(ctx, ended); err != nil {
			return err
		}
	}
	x.forget(ended)
	return nil
}

// publish returns when Redis has the events.
func (x *Mourner) publish(ctx context.Context, ended []index.Ended) error {
	written := make([]func() bool, len(ended))
	for i := range ended {
		var err error
		if written[i], err = x.publishOnce(ctx, &ended[i]); err != nil {
			return err
		}
	}
	for i := range written {
		for !written[i]() {
			select {
			case <-ctx.Done():
				return fmt.Errorf("events of users who have gone wait for Redis: %w", ctx.Err())
			case <-time.After(writtenGrain):
			}
		}
	}
	return nil
}

const (
	// writtenGrain is how often it is looked whether Redis has an event.
	writtenGrain = 2 * time.Millisecond
	// publishedMost is how many are remembered; beyond it all are forgotten, and
	// published again under their ids.
	publishedMost = 100_000
)

// publishOnce publishes the event of e, unless a call before has done so, and returns what says
// whether Redis has it.
func (x *Mourner) publishOnce(ctx context.Context, e *index.Ended) (written func() bool, err error) {
	x.once.Lock()
	defer x.once.Unlock()
	id := endID(e)
	if written := x.published[id]; written != nil {
		return written, nil
	}
	if tell := (events{x.hooks}); !tell.ended(e) {
		if err := x.hooks.Flush(ctx); err != nil {
			return nil, err
		}
		if !tell.ended(e) {
			return nil, errNoRoom
		}
	}
	if len(x.published) >= publishedMost {
		clear(x.published)
	}
	x.published[id] = x.hooks.Written(string(e.User))
	return x.published[id], nil
}

// forget has the events of ended be published anew, should they ever be told of again.
func (x *Mourner) forget(ended []index.Ended) {
	x.once.Lock()
	defer x.once.Unlock()
	for i := range ended {
		delete(x.published, endID(&ended[i]))
	}
}

// name names those who have gone to every front process: none knows who their friends
// are but the processes that hold them. The leases are read for it, so that a process
// which took its own a moment ago is told as well.
func (x *Mourner) name(ctx context.Context, ended []index.Ended) error {
	gone := make([]Gone, 0, len(ended))
	for _, e := range ended {
		if !e.Back {
			gone = append(gone, Gone{User: e.User, At: e.At})
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := x.census.Refresh(ctx); err != nil {
		return fmt.Errorf("presence: who is to hear of %d users who have gone: %w", len(gone), err)
	}
	for some := range slices.Chunk(gone, hub.MaxUsers) {
		body := (&Message{Gone: some}).Bytes()
		var out []relay.Outgoing
		for _, p := range x.census.Processes(hub.RoleFront) {
			out = append(out, relay.Outgoing{To: p.ID, Body: body})
		}
		if _, err := x.send(ctx, out); err != nil {
			return err
		}
	}
	return nil
}
