package host

import (
	"context"
	"errors"
	"time"

	"github.com/homing/homing/hub"
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

// guide brings connections with a ticket to their room, or tells them where it is.
type guide struct {
	*env
	secrets [][]byte
	table   *table
	lookups chan lookup
}

// lookup is a connection that waits to be told where its room is.
//
//bound:room-lookups
type lookup struct {
	seat *Seat
	room string
}

// join is Host.Join.
func (g *guide) join(line Line, user hub.UserID, ticket string, after uint64) *Seat {
	s := &Seat{Line: line, user: user, after: after}
	t, err := room.ParseTicket(ticket, g.secrets, time.Now())
	switch {
	case errors.Is(err, room.ErrExpiredTicket):
		g.notIn(s, CodeExpiredTicket, "")
		return s
	case err != nil:
		g.notIn(s, CodeBadTicket, "")
		return s
	case t.User != user:
		g.notIn(s, CodeOtherTicket, "")
		return s
	}
	// A ticket of an epoch to come shows that the room has gone on elsewhere.
	if r := g.table.find(t.Room); r != nil && t.Epoch <= r.epoch.Load() {
		s.in = r
		if r.inputs.control(input{kind: inputJoin, seat: s}) {
			return s
		} // else it has ended meanwhile
	}
	g.redirect(s, t.Room)
	return s
}

// redirect has a connection be told where its room is.
func (g *guide) redirect(s *Seat, id string) {
	select {
	case <-g.drained:
		g.notIn(s, CodeUnavailable, "")
		return
	default:
	}
	select {
	case g.lookups <- lookup{s, id}:
	default:
		g.notIn(s, CodeUnavailable, "")
	}
}

// lookUp tells connections where their rooms are, until ctx ends.
func (g *guide) lookUp(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-g.lookups:
			g.direct(ctx, l)
		}
	}
}

// direct tells a connection where its room is.
func (g *guide) direct(ctx context.Context, l lookup) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	rec, err := g.Directory.Find(ctx, l.room)
	switch {
	case errors.Is(err, directory.ErrNotFound) && !g.Census.Steady():
		g.notIn(l.seat, CodeUnavailable, "") // a failover may have lost it
	case errors.Is(err, directory.ErrNotFound):
		g.notIn(l.seat, CodeEnded, "")
	case err != nil:
		g.notIn(l.seat, CodeUnavailable, "")
	case rec.Ended != "":
		g.notIn(l.seat, CodeEnded, rec.Ended)
	case rec.Owner == g.Process, g.knownDead(rec.Owner):
		g.notIn(l.seat, CodeUnavailable, "") // it begins, ends or finds another owner
	default:
		g.met.joins.WithLabelValues("moved").Inc()
		g.tell(Told{Seat: l.seat, Kind: KindMoved, Note: g.movedTo(&rec, l.seat.user)})
	}
}

// movedTo says where a room is, with a ticket for it.
func (g *guide) movedTo(rec *directory.Record, user hub.UserID) *Note {
	return &Note{Room: rec.Room, URL: rec.URL, Epoch: rec.Epoch, Ticket: g.ticket(rec.Room, rec.Epoch, user)}
}

func (g *guide) ticket(id string, epoch uint64, user hub.UserID) string {
	t := room.Ticket{Room: id, Epoch: epoch, User: user, Until: time.Now().Add(g.cfg.TicketTTL).Unix()}
	return t.Sign(g.secrets[0])
}

func (g *guide) notIn(s *Seat, code, reason string) {
	g.met.joins.WithLabelValues(code).Inc()
	g.tell(Told{Seat: s, Kind: KindNotIn, Note: &Note{Code: code, Reason: reason}})
}

// locate is Host.Locate.
func (g *guide) locate(ctx context.Context, ticket string) (hub.ProcessID, error) {
	t, err := room.ParseTicket(ticket, g.secrets, time.Now())
	if err != nil {
		return "", err
	}
	if g.table.find(t.Room) != nil {
		return g.Process, nil
	}
	rec, err := g.Directory.Find(ctx, t.Room)
	if err != nil {
		return "", err
	}
	return rec.Owner, nil
}
