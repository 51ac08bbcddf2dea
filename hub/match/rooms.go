package match

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// Rooms opens the rooms that matches are played in. Its methods may be called at
// once and return when the context ends.
type Rooms interface {
	// Open opens a room with a seat reserved for every user. Called again with the
	// same Match it returns the room that there is.
	Open(ctx context.Context, o *Opening) (*Opened, error)
	// Fill reserves a seat for every user in a room that is there, which must have
	// the epoch given. Called again with the same Match it reserves no more.
	Fill(ctx context.Context, room string, epoch uint64, o *Opening) (*Opened, error)
	// Close ends a room that was opened for a match that did not come about. One
	// that is gone is no error.
	Close(ctx context.Context, room string) error
}

// Opening is what a match wants of a room.
type Opening struct {
	Match    string // its id; unique
	Class    string
	Teams    [][]hub.UserID // by team, in the order of the queue's tickets
	Metadata jsontext.Value // an object: match, queue and mode
	Data     jsontext.Value // an object for the room's logic: teams, lists of users
}

// Users lists those of all teams.
func (o *Opening) Users() (all []hub.UserID) {
	for _, team := range o.Teams {
		all = append(all, team...)
	}
	return all
}

// Opened is a room in which seats are reserved.
type Opened struct {
	Room    string
	URL     string                // that its players connect to
	Tickets map[hub.UserID]string // what lets each user of the match in
}

// metadata is what a room knows of its match.
type metadata struct {
	Match string `json:"match"`
	Queue string `json:"queue"`
	Mode  string `json:"mode,omitempty"`
}

// teams is what a room's logic is told of its match.
type teams struct {
	Teams [][]hub.UserID `json:"teams"`
}

// plan is a match in the making, as Redis keeps it.
type plan struct {
	Match string         `json:"-"`
	Teams [][]hub.UserID `json:"teams"`
	Room  string         `json:"room,omitempty"` // that it fills
	Epoch uint64         `json:"epoch,omitempty"`

	tickets []*Ticket // not known of one that Redis has kept
	asks    bool      // its players have yet to accept
}

func (p *plan) players() (n int) {
	for _, team := range p.Teams {
		n += len(team)
	}
	return n
}

// opening is what p wants of a room.
func (p *plan) opening(q *Queue) *Opening {
	m, _ := json.Marshal(metadata{Match: p.Match, Queue: q.Name, Mode: q.Mode}) // strings always marshal
	d, _ := json.Marshal(teams{p.Teams})
	return &Opening{Match: p.Match, Class: q.Class, Teams: p.Teams, Metadata: m, Data: d}
}

// found is what the players of p are told once the room is open. It is false when
// somebody would not get in.
func (p *plan) found(q *Queue, o *Opened) (*Found, bool) {
	f := &Found{Match: p.Match, Queue: q.Name, Room: o.Room, URL: o.URL}
	for team, users := range p.Teams {
		for _, u := range users {
			ticket, ok := o.Tickets[u]
			if !ok {
				return nil, false
			}
			f.Players = append(f.Players, Seated{User: u, Team: team, Ticket: ticket})
		}
	}
	return f, o.Room != ""
}
