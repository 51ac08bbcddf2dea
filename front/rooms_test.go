package front

import (
	"testing"

	gws "github.com/gobwas/ws"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/host"
)

// seating gives out seats of rooms that are elsewhere; the test says what comes of
// each.
type seating struct {
	fakeRooms
	given chan *host.Seat
}

func (s seating) Join(line host.Line, _ hub.UserID, _ string, _ uint64) *host.Seat {
	seat := &host.Seat{Line: line}
	s.given <- seat
	return seat
}

func startSeating(t *testing.T) (*rig, seating) {
	t.Helper()
	s := seating{given: make(chan *host.Seat, 1)}
	return startDeps(t, func(d *Deps) { d.Process, d.Rooms = hub.NewProcessID(), s }, nil), s
}

// tell tells the connection on a seat something, as its room would.
func tell(r *rig, seat *host.Seat, kind host.Kind, note host.Note) {
	r.Tell(&host.Batch{Told: []host.Told{{Seat: seat, Kind: kind, Note: &note}}})
}

// wantMessage reads one message and compares some of its fields; nil: it has none.
func wantMessage(t *testing.T, c *peer, fields map[string]any) {
	t.Helper()
	m := c.json()
	for k, v := range fields {
		if m[k] != v {
			t.Errorf("told %v, want %s %v", m, k, v)
		}
	}
}

// TestLeaveOfJoinThatComesToNothing has each of the two answered with its own
// reference.
func TestLeaveOfJoinThatComesToNothing(t *testing.T) {
	r, rooms := startSeating(t)
	for kind, want := range map[host.Kind]map[string]any{
		host.KindMoved: {"t": "moved", "ref": 1.0},
		host.KindNotIn: {"t": "error", "of": "join", "ref": 1.0},
	} {
		c := r.join("ann")
		c.text(`{"t":"join","ticket":"x","ref":1}`)
		seat := <-rooms.given
		c.text(`{"t":"leave","ref":2}`)
		wantMessage(t, c, map[string]any{"t": "error", "of": "leave", "code": "no_room", "ref": 2.0})
		tell(r, seat, kind, host.Note{Code: host.CodeEnded})
		wantMessage(t, c, want)
	}
}

// TestBinaryMessageThatCrossesLeft is refused, and the connection stays.
func TestBinaryMessageThatCrossesLeft(t *testing.T) {
	r, rooms := startSeating(t)
	c := r.join("ann")
	c.text(`{"t":"join","ticket":"x"}`)
	tell(r, <-rooms.given, host.KindLeft, host.Note{Room: "r", Why: "kicked"})
	wantMessage(t, c, map[string]any{"t": "left", "why": "kicked", "ref": nil})
	c.write(gws.MaskFrame(gws.NewBinaryFrame([]byte{1, 2, 3})))
	wantMessage(t, c, map[string]any{"t": "error", "of": "say", "code": "no_room"})
	c.text(`{"t":"ping","ref":3}`)
	wantMessage(t, c, map[string]any{"t": "ok", "ref": 3.0})
}
