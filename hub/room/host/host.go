package host

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
)

// Deps is what a Host works with.
type Deps struct {
	Process   hub.ProcessID
	Classes   []*room.Class
	Directory *directory.Directory
	Store     Store
	Census    *lease.Census
	Standing  func() hub.Standing // of this process
	// Event tells the backends of something that has happened to a room. It must not
	// block. nil: nobody is told.
	Event func(kind, room string, data any)
	// Lack tells matchmaking what a room lacks, and with nil that it lacks nobody any
	// more in the queue. It may block until ctx ends. nil: nobody is told.
	Lack     func(ctx context.Context, id string, epoch uint64, queue string, l *room.Lack) error
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Host is the rooms of one process. It is safe for concurrent use.
type Host struct{ *parts }

// New returns a Host, whose rooms are of classes. It does no I/O but reading the
// file of secrets.
func New(cfg Config, deps Deps) (*Host, error) {
	secrets, err := cfg.secrets()
	if err != nil {
		return nil, err
	}
	classes, err := byName(deps.Classes)
	if err != nil {
		return nil, err
	}
	return &Host{assemble(cfg, deps, secrets, classes)}, nil
}

// Attach says who brings to connections what rooms tell them, and who asks other
// processes. It is called once, before anything else.
func (h *Host) Attach(outbox Outbox, peer *call.Peer) { h.env.outbox, h.env.peer = outbox, peer }

// Run runs the rooms until ctx ends. Then it hands them over to other processes, as
// far as they go within the drain timeout, and ends those that are left.
func (h *Host) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	routines := &h.env.routines
	for range lookupWorkers {
		routines.Go(func() { h.guide.lookUp(work) })
	}
	routines.Go(func() { h.saver.run(work) })
	routines.Go(func() { h.watcher.run(work) })
	routines.Go(func() { h.keeper.run(work) })
	routines.Go(func() { h.adopter.run(ctx) })
	var evacuation sync.WaitGroup
	evacuation.Go(func() { h.evacuator.run(ctx) })
	<-ctx.Done()
	evacuation.Wait()
	h.drainer.drain(work)
	close(h.env.drained)
	cancel()
	routines.Wait()
	return nil
}

// Join has a connection of user take the seat that a ticket is for. after is the
// number of the last event that the user has read, 0 for none. What comes of it is
// told: KindJoined, KindMoved or KindNotIn. It does not block.
func (h *Host) Join(line Line, user hub.UserID, ticket string, after uint64) *Seat {
	return h.guide.join(line, user, ticket, after)
}

// Locate returns the process that owns the room of a ticket. It blocks for a round
// trip at most. The error says that the ticket is none, or that nobody knows.
func (h *Host) Locate(ctx context.Context, ticket string) (hub.ProcessID, error) {
	return h.guide.locate(ctx, ticket)
}

// Evacuate has the rooms move to other processes, and takes none, until Stay is called.
// Those that nobody takes go on until the deadline, and end then. Called again it
// changes the deadline. It does not block.
func (h *Host) Evacuate(deadline time.Time) { h.evacuator.set(deadline) }

// Stay ends what Evacuate began: rooms that are still here stay, and others are taken.
// It does not block.
func (h *Host) Stay() { h.evacuator.set(time.Time{}) }

// Count is how many rooms there are, and seats in them that are reserved or taken.
func (h *Host) Count() (rooms, seats int) { return h.table.count(), h.table.reserved() }

// Methods are what other processes may ask for; see asks.
func (h *Host) Methods() map[string]call.Handler { return h.server.methods() }
