package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// maxLookups is how many connections wait to be told where their room is, and
	// lookupWorkers how many of them are looked up at once.
	maxLookups    = 4096
	lookupWorkers = 16
	lookupTimeout = 3 * time.Second
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

// Store keeps the checkpoints of rooms. Its methods block for a round trip.
type Store interface {
	Save(ctx context.Context, room string, checkpoint []byte) error
	// Load returns nil when there is none.
	Load(ctx context.Context, room string) ([]byte, error)
	Drop(ctx context.Context, room string) error
}

// Host is the rooms of one process. It is safe for concurrent use.
type Host struct {
	cfg     Config
	secrets [][]byte
	classes map[string]*room.Class
	deps    Deps
	met     *metrics
	began   time.Time

	outbox  Outbox     // set by Attach
	peer    *call.Peer // set by Attach
	lookups chan lookup
	saves   chan *running

	starting atomic.Int64  // rooms that begin
	taken    atomic.Int64  // seats of the rooms here that are reserved or taken
	drained  chan struct{} // closed when the rooms have gone, and nothing is waited for any more

	mu       sync.Mutex
	rooms    map[string]*running
	draining bool
	over     bool // no room is taken in any more
	routines sync.WaitGroup

	strangers strangers

	offers sync.Mutex // held while the directory hears whether this process takes rooms
}

// New returns a Host, whose rooms are of classes. It does no I/O but reading the
// file of secrets.
func New(cfg Config, deps Deps) (*Host, error) {
	secrets, err := cfg.secrets()
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, secrets: secrets, deps: deps, met: newMetrics(deps.Registry), began: time.Now(),
		classes: make(map[string]*room.Class, len(deps.Classes)),
		rooms:   make(map[string]*running),

		strangers: strangers{since: make(map[string]time.Time)},
		lookups:   make(chan lookup, maxLookups),
		saves:     make(chan *running, maxSaves),
		drained:   make(chan struct{}),
	}
	for _, c := range deps.Classes {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		if h.classes[c.Name] != nil {
			return nil, fmt.Errorf("two classes of rooms have the name %s", c.Name)
		}
		h.classes[c.Name] = c
	}
	return h, nil
}

// now is the clock of all rooms.
func (h *Host) now() time.Duration { return time.Since(h.began) }

// Attach says who brings to connections what rooms tell them, and who asks other
// processes. It is called once, before anything else.
func (h *Host) Attach(outbox Outbox, peer *call.Peer) { h.outbox, h.peer = outbox, peer }

// Run runs the rooms until ctx ends. Then it hands them over to other processes, as
// far as they go within the drain timeout, and ends those that are left.
func (h *Host) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for range lookupWorkers {
		h.routines.Go(func() { h.lookUp(work) })
	}
	h.routines.Go(func() { h.writeCheckpoints(work) })
	h.routines.Go(func() { h.watch(work) })
	h.routines.Go(func() { h.keepNotes(work) })
	h.routines.Go(func() { h.adoptOrphans(ctx) })
	<-ctx.Done()
	h.drain(work)
	close(h.drained)
	cancel()
	h.routines.Wait()
	return nil
}

// find returns the room of that id that runs here; nil: none does.
func (h *Host) find(id string) *running {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[id]
}

// all lists the rooms.
func (h *Host) all() []*running {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*running, 0, len(h.rooms))
	for _, r := range h.rooms {
		all = append(all, r)
	}
	return all
}

// Join has a connection of user take the seat that a ticket is for. after is the
// number of the last event that the user has read, 0 for none. What comes of it is
// told: KindJoined, KindMoved or KindNotIn. It does not block.
func (h *Host) Join(line Line, user hub.UserID, ticket string, after uint64) *Seat {
	s := &Seat{Line: line, user: user, after: after}
	t, err := room.ParseTicket(ticket, h.secrets, time.Now())
	switch {
	case errors.Is(err, room.ErrExpiredTicket):
		h.notIn(s, CodeExpiredTicket, "")
		return s
	case err != nil:
		h.notIn(s, CodeBadTicket, "")
		return s
	case t.User != user:
		h.notIn(s, CodeOtherTicket, "")
		return s
	}
	// A ticket of an epoch to come shows that the room has gone on elsewhere.
	if r := h.find(t.Room); r != nil && t.Epoch <= r.epoch.Load() {
		s.in = r
		if r.control(input{kind: inputJoin, seat: s}) {
			return s
		} // else it has ended meanwhile
	}
	h.redirect(s, t.Room)
	return s
}

// redirect has a connection be told where its room is.
func (h *Host) redirect(s *Seat, id string) {
	select {
	case <-h.drained:
		h.notIn(s, CodeUnavailable, "")
		return
	default:
	}
	select {
	case h.lookups <- lookup{s, id}:
	default:
		h.notIn(s, CodeUnavailable, "")
	}
}

// lookup is a connection that waits to be told where its room is.
//
//bound:room-lookups
type lookup struct {
	seat *Seat
	room string
}

func (h *Host) lookUp(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-h.lookups:
			h.direct(ctx, l)
		}
	}
}

// direct tells a connection where its room is.
func (h *Host) direct(ctx context.Context, l lookup) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	rec, err := h.deps.Directory.Find(ctx, l.room)
	switch {
	case errors.Is(err, directory.ErrNotFound) && !h.deps.Census.Steady():
		h.notIn(l.seat, CodeUnavailable, "") // a failover may have lost it
	case errors.Is(err, directory.ErrNotFound):
		h.notIn(l.seat, CodeEnded, "")
	case err != nil:
		h.notIn(l.seat, CodeUnavailable, "")
	case rec.Ended != "":
		h.notIn(l.seat, CodeEnded, rec.Ended)
	case rec.Owner == h.deps.Process, h.knownDead(rec.Owner):
		h.notIn(l.seat, CodeUnavailable, "") // it begins, ends or finds another owner
	default:
		h.met.joins.WithLabelValues("moved").Inc()
		h.tell(Told{Seat: l.seat, Kind: KindMoved, Note: h.movedTo(&rec, l.seat.user)})
	}
}

// movedTo says where a room is, with a ticket for it.
func (h *Host) movedTo(rec *directory.Record, user hub.UserID) *Note {
	return &Note{Room: rec.Room, URL: rec.URL, Epoch: rec.Epoch, Ticket: h.ticket(rec.Room, rec.Epoch, user)}
}

func (h *Host) ticket(id string, epoch uint64, user hub.UserID) string {
	t := room.Ticket{Room: id, Epoch: epoch, User: user, Until: time.Now().Add(h.cfg.TicketTTL).Unix()}
	return t.Sign(h.secrets[0])
}

func (h *Host) notIn(s *Seat, code, reason string) {
	h.met.joins.WithLabelValues(code).Inc()
	h.tell(Told{Seat: s, Kind: KindNotIn, Note: &Note{Code: code, Reason: reason}})
}

func (h *Host) tell(t Told) { h.outbox.Tell(&Batch{Told: []Told{t}}) }

// Locate returns the process that owns the room of a ticket. It blocks for a round
// trip at most. The error says that the ticket is none, or that nobody knows.
func (h *Host) Locate(ctx context.Context, ticket string) (hub.ProcessID, error) {
	t, err := room.ParseTicket(ticket, h.secrets, time.Now())
	if err != nil {
		return "", err
	}
	if h.find(t.Room) != nil {
		return h.deps.Process, nil
	}
	rec, err := h.deps.Directory.Find(ctx, t.Room)
	if err != nil {
		return "", err
	}
	return rec.Owner, nil
}
