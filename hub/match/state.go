package match

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/homing/homing/hub"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNoQueue  = errors.New("no such queue")
	ErrNoTicket = errors.New("no such ticket")
	// ErrClosed marks that nothing could come of a ticket: nobody opens rooms.
	ErrClosed = errors.New("no room could be opened for a match")
	// ErrUndecided marks that a ticket that somebody wants to cancel is being
	// matched: whoever asks again hears which of the two it was.
	ErrUndecided = errors.New("a match is being made with the ticket")
	// ErrNotAsked marks an answer to a match that nobody asks about, any more.
	ErrNotAsked = errors.New("the ticket is not asked to accept a match")
	// ErrStranger marks a player who is not one of the ticket's.
	ErrStranger = errors.New("the player is not one of the ticket's")
)

// Status says what has become of a ticket.
type Status string

// A ticket waits, is claimed for a match whose room is being opened, or is asked
// whether its players accept a match. It ends once, by one of the others.
const (
	Waiting  Status = "waiting"
	Claimed  Status = "claimed"
	Offered  Status = "offered"
	Matched  Status = "matched"
	Canceled Status = "cancelled" // somebody wanted it
	Expired  Status = "expired"   // it has waited for as long as its queue lets it
	Lost     Status = "lost"      // its owner was not heard of any more
	Declined Status = "declined"  // a player did not accept a match in time, or refused
)

// Endings lists the ways in which a ticket ends.
var Endings = []Status{Matched, Canceled, Expired, Lost, Declined}

// Ended reports whether s is one of Endings.
func (s Status) Ended() bool { return s != Waiting && s != Claimed && s != Offered }

// State is what is known of a ticket. Of one that has ended, Ticket has its ID only.
type State struct {
	Ticket

	Queue    string
	Status   Status
	Waited   time.Duration // so far; 0 of one that has ended
	Estimate time.Duration // how long such tickets wait in all, as a rule; 0: not known
	Until    time.Time     // when the players must have accepted, of one that is offered
	Found    *Found        // of one that was matched; nil: it is not remembered any more
}

// Found is a match as its players are told of it.
type Found struct {
	Match   string   `json:"match"`
	Queue   string   `json:"queue"`
	Room    string   `json:"room"`
	URL     string   `json:"url"`
	Players []Seated `json:"players"`
}

// Seated is a player of a match, and what lets the player into the room.
type Seated struct {
	User   hub.UserID `json:"user"`
	Team   int        `json:"team"`
	Ticket string     `json:"ticket"`
}

// maxTicketID bounds what callers choose of a ticket's id.
const maxTicketID = 64

// TicketID is the id of the ticket of a queue that its caller calls id; when id is
// empty, a new one. The error is a *hub.FieldError.
func TicketID(queue, id string) (string, error) {
	if id == "" {
		return queue + ":" + ulid.Make().String(), nil
	}
	if err := hub.UserID(id).Check(); err != nil || len(id) > maxTicketID {
		return "", hub.Invalid("id", "%q, want 1 to %d bytes of printable ASCII without space", id, maxTicketID)
	}
	return queue + ":" + id, nil
}

// queueOf is the queue that a ticket's id names.
func queueOf(id string) string {
	queue, _, _ := strings.Cut(id, ":")
	return queue
}

// extra is what Redis keeps of a ticket and no script reads.
type extra struct {
	Labels []string `json:"labels,omitempty"`
}

// putArgs are those of put.lua.
func (q *Queue) putArgs(t *Ticket, waited time.Duration, beats bool) []any {
	beat := int64(0)
	if beats {
		beat = q.heartbeat().Milliseconds()
	}
	rest, _ := json.Marshal(extra{Labels: t.Labels}) // strings always marshal
	return []any{
		t.ID, max(0, waited.Milliseconds()), q.Expire.Milliseconds(), beat,
		strconv.FormatFloat(t.Rating, 'g', -1, 64), joined(t.Players), rest,
		q.maxTickets(), q.maxTickets() * ticketBytes,
	}
}

var errTicketText = errors.New("not the text of a ticket")

// parseTicket reads what put.lua has written.
func parseTicket(id, s string) (*Ticket, error) {
	head, rest, _ := strings.Cut(s, "\n")
	players, more, ok := strings.Cut(rest, "\n")
	fields := strings.Fields(head)
	if !ok || len(fields) != 4 {
		return nil, fmt.Errorf("ticket %s: %w", id, errTicketText)
	}
	since, err := strconv.ParseInt(fields[0], 10, 64)
	rating, err2 := strconv.ParseFloat(fields[3], 64)
	var e extra
	err3 := json.Unmarshal([]byte(more), &e)
	if err := errors.Join(err, err2, err3); err != nil {
		return nil, fmt.Errorf("ticket %s: %w", id, err)
	}
	t := &Ticket{ID: id, Rating: rating, Labels: e.Labels, Since: time.UnixMilli(since)}
	t.Players = usersIn(players)
	return t, nil
}

// joined writes users with a space between two.
func joined(users []hub.UserID) string {
	all := make([]string, len(users))
	for i, u := range users {
		all[i] = string(u)
	}
	return strings.Join(all, " ")
}

// usersIn reads users with a space between two.
func usersIn(s string) (users []hub.UserID) {
	for u := range strings.FieldsSeq(s) {
		users = append(users, hub.UserID(u))
	}
	return users
}
