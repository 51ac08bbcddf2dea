package match

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/homing/homing/hub"
)

// Bounds of a queue and its tickets.
const (
	MaxTeams      = 64
	MaxPlayers    = 256 // of a match
	MaxSteps      = 8
	MaxLabels     = 8
	maxLabel      = 64
	maxRating     = 1e9
	labelOfNobody = "" // of tickets that name none

	MaxQueues     = 64      // of a deployment
	MaxTickets    = 1 << 20 // of a queue
	MaxExpire     = 24 * time.Hour
	MaxAccept     = 5 * time.Minute
	maxQueueLabel = 64 // labels that a queue may name

	// MinHeartbeat leaves time for a failover of Redis.
	MinHeartbeat = 10 * time.Second
)

// What a queue has that does not say otherwise.
const (
	//bound:match-tickets

	DefaultMaxTickets = 100_000
	DefaultExpire     = 5 * time.Minute
	DefaultHeartbeat  = 30 * time.Second
	ticketBytes       = 640 // of a ticket that MaxTickets reckons with
)

// Queue is what is played, and what its players accept. Its fields do not change
// while tickets wait.
type Queue struct {
	Name     string
	Mode     string // what rooms are told is played; may be empty
	Class    string // of the rooms
	Teams    int    // of a match
	TeamSize int    // players of a full team
	// Steps are in the order of their times, the first one at 0.
	Steps []Step
	// Parties are the sizes that a ticket may have; empty: from 1 to TeamSize.
	Parties []int
	// Labels are those that a ticket may name; empty: any.
	Labels []string
	// Expire is how long a ticket waits at most.
	Expire time.Duration
	// Heartbeat is how long the owner of a ticket that it keeps alive may be silent
	// before the ticket is lost; 0: DefaultHeartbeat.
	Heartbeat time.Duration
	// Accept is how long players have to accept a match before its room is opened;
	// 0: they are not asked.
	Accept time.Duration
	// ByPlayers has players ask for a match themselves, with a rating of their own
	// word; else their backend asks for them.
	ByPlayers bool
	// MaxTickets is how many may wait at a time; 0: DefaultMaxTickets. Their bytes
	// are bounded by it too.
	MaxTickets int
}

// Step is what a ticket accepts once it has waited for a time.
type Step struct {
	After time.Duration
	// Window is how far apart the ratings of any two tickets of its match may be;
	// 0: any distance.
	Window float64
	// Players is how many players its match must have at least; 0: all teams full.
	// A team that is not full has at least one. For a room that lacks players it
	// does not count: who joins that plays at once.
	Players int
	// AnyLabel has it play with tickets that share none of its labels.
	AnyLabel bool
}

var queueName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Validate reports the first field that cannot work. The error is a
// *hub.FieldError with the field's name in a file of queues.
func (q *Queue) Validate() error {
	switch {
	case !queueName.MatchString(q.Name):
		return hub.Invalid("name", "%q, want what matches %s", q.Name, queueName)
	case len(q.Mode) > maxLabel:
		return hub.Invalid("mode", "%d bytes, want at most %d", len(q.Mode), maxLabel)
	case q.Teams < 1 || q.Teams > MaxTeams:
		return hub.Invalid("teams", "%d, want 1 to %d", q.Teams, MaxTeams)
	case q.TeamSize < 1 || q.TeamSize > MaxPlayers || q.players() > MaxPlayers || q.players() < 2:
		return hub.Invalid("team_size", "%d in each of %d teams, want 2 to %d players in all", q.TeamSize, q.Teams, MaxPlayers)
	}
	return cmp.Or(q.checkTimes(), q.checkLists(), q.checkSteps())
}

func (q *Queue) checkTimes() error {
	switch {
	case q.Expire <= 0 || q.Expire > MaxExpire:
		return hub.Invalid("expire", "%v, want more than 0 and at most %v", q.Expire, MaxExpire)
	case q.Heartbeat != 0 && (q.Heartbeat < MinHeartbeat || q.Heartbeat > MaxExpire):
		return hub.Invalid("heartbeat", "%v, want %v to %v", q.Heartbeat, MinHeartbeat, MaxExpire)
	case q.Accept < 0 || q.Accept > MaxAccept:
		return hub.Invalid("accept", "%v, want 0 to %v", q.Accept, MaxAccept)
	case q.MaxTickets < 0 || q.MaxTickets > MaxTickets:
		return hub.Invalid("max_tickets", "%d, want 0 to %d", q.MaxTickets, MaxTickets)
	}
	return nil
}

func (q *Queue) checkLists() error {
	for i, n := range q.Parties {
		if n < 1 || n > q.TeamSize {
			return hub.Invalid(fmt.Sprintf("parties[%d]", i), "%d, want 1 to %d", n, q.TeamSize)
		}
	}
	if len(q.Labels) > maxQueueLabel {
		return hub.Invalid("labels", "%d, want at most %d", len(q.Labels), maxQueueLabel)
	}
	return checkLabels(q.Labels)
}

func checkLabels(labels []string) error {
	for i, l := range labels {
		if l == labelOfNobody || len(l) > maxLabel {
			return hub.Invalid(fmt.Sprintf("labels[%d]", i), "%d bytes, want 1 to %d", len(l), maxLabel)
		}
	}
	return nil
}

func (q *Queue) checkSteps() error {
	if len(q.Steps) == 0 || len(q.Steps) > MaxSteps {
		return hub.Invalid("steps", "%d, want 1 to %d", len(q.Steps), MaxSteps)
	}
	for i := range q.Steps {
		if err := q.checkStep(i, &q.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) checkStep(i int, s *Step) error {
	at := fmt.Sprintf("steps[%d]", i)
	switch {
	case i == 0 && s.After != 0:
		return hub.Invalid(at+".after", "%v, want 0s: the first step counts from the beginning", s.After)
	case i > 0 && s.After <= q.Steps[i-1].After:
		return hub.Invalid(at+".after", "%v, want later than the step before", s.After)
	case s.Window < 0 || math.IsNaN(s.Window):
		return hub.Invalid(at+".window", "%v, want 0 or more", s.Window)
	case s.Players != 0 && (s.Players < max(2, q.Teams) || s.Players > q.players()):
		return hub.Invalid(at+".players", "%d, want 0, or %d to %d", s.Players, max(2, q.Teams), q.players())
	}
	return nil
}

// players is how many a full match has.
func (q *Queue) players() int { return q.Teams * q.TeamSize }

// step is what a ticket accepts that has waited for so long.
func (q *Queue) step(waited time.Duration) *Step {
	i := len(q.Steps) - 1
	for i > 0 && waited < q.Steps[i].After {
		i--
	}
	return &q.Steps[i]
}

func (q *Queue) heartbeat() time.Duration { return cmp.Or(q.Heartbeat, DefaultHeartbeat) }

func (q *Queue) maxTickets() int { return cmp.Or(q.MaxTickets, DefaultMaxTickets) }

// Ticket is a player or a party that waits.
type Ticket struct {
	ID      string
	Players []hub.UserID
	Rating  float64   // of a party: their mean
	Labels  []string  // regions, for example; none: it plays with those without
	Since   time.Time // it waits
}

// Check reports what keeps t from waiting in q. The error is a *hub.FieldError.
func (q *Queue) Check(t *Ticket) error {
	n := len(t.Players)
	switch {
	case n == 0 || n > q.TeamSize || len(q.Parties) > 0 && !slices.Contains(q.Parties, n):
		return hub.Invalid("players", "a party of %d, which the queue does not take", n)
	case math.IsNaN(t.Rating) || math.Abs(t.Rating) > maxRating:
		return hub.Invalid("rating", "%v, want a number between -%g and %g", t.Rating, maxRating, maxRating)
	case len(t.Labels) > MaxLabels:
		return hub.Invalid("labels", "%d labels, want at most %d", len(t.Labels), MaxLabels)
	}
	for i, p := range t.Players {
		if err := p.Check(); err != nil {
			return hub.Invalid(fmt.Sprintf("players[%d]", i), "%v", err)
		}
		if slices.Contains(t.Players[:i], p) {
			return hub.Invalid(fmt.Sprintf("players[%d]", i), "stands twice")
		}
	}
	if err := checkLabels(t.Labels); err != nil {
		return err
	}
	for i, l := range t.Labels {
		if len(q.Labels) > 0 && !slices.Contains(q.Labels, l) {
			return hub.Invalid(fmt.Sprintf("labels[%d]", i), "%q, want one of %q", l, q.Labels)
		}
	}
	return nil
}

// Backfill is a room that lacks players.
type Backfill struct {
	Room   string
	Epoch  uint64    // of its owner
	Free   []int     // seats of each team that are free
	Rating float64   // mean of who is there
	Labels []string  // as a ticket's
	Since  time.Time // it lacks them
}

// Match is who plays together.
type Match struct {
	Backfill *Backfill   // the room that they join; nil: a new one
	Tickets  []*Ticket   // oldest first
	Teams    [][]*Ticket // the same, by team
}

// Function decides who plays together. The built-in one is Nearest. It must use
// each ticket in one match at most; whoever calls it checks that.
type Function interface {
	Match(q *Queue, now time.Time, waiting []*Ticket, lacking []*Backfill) []Match
}
