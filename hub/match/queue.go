package match

import (
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
)

// Queue is what is played, and what its players accept. Its fields do not change
// while tickets wait.
type Queue struct {
	Name     string
	Teams    int // of a match
	TeamSize int // players of a full team
	// Steps are in the order of their times, the first one at 0.
	Steps []Step
	// Parties are the sizes that a ticket may have; empty: from 1 to TeamSize.
	Parties []int
	// Expire is how long a ticket waits at most.
	Expire time.Duration
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

// Validate reports the first field that cannot work.
func (q *Queue) Validate() error {
	switch {
	case !queueName.MatchString(q.Name):
		return fmt.Errorf("queue %q: the name must match %s", q.Name, queueName)
	case q.Teams < 1 || q.Teams > MaxTeams:
		return fmt.Errorf("queue %s: %d teams, want 1 to %d", q.Name, q.Teams, MaxTeams)
	case q.TeamSize < 1 || q.TeamSize > MaxPlayers || q.players() > MaxPlayers || q.players() < 2:
		return fmt.Errorf("queue %s: %d players, want 2 to %d", q.Name, q.players(), MaxPlayers)
	case q.Expire <= 0:
		return fmt.Errorf("queue %s: expire %v, want more than 0", q.Name, q.Expire)
	case len(q.Steps) == 0 || len(q.Steps) > MaxSteps || q.Steps[0].After != 0:
		return fmt.Errorf("queue %s: %d steps, want 1 to %d, the first one after 0s", q.Name, len(q.Steps), MaxSteps)
	}
	i := slices.IndexFunc(q.Parties, func(n int) bool { return n < 1 || n > q.TeamSize })
	if i >= 0 {
		return fmt.Errorf("queue %s: parties of %d, want 1 to %d", q.Name, q.Parties[i], q.TeamSize)
	}
	return q.checkSteps()
}

func (q *Queue) checkSteps() error {
	for i := range q.Steps {
		if err := q.checkStep(i, &q.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) checkStep(i int, s *Step) error {
	switch {
	case i > 0 && s.After <= q.Steps[i-1].After:
		return fmt.Errorf("queue %s: step %d after %v, want later than the one before", q.Name, i, s.After)
	case s.Window < 0 || math.IsNaN(s.Window):
		return fmt.Errorf("queue %s: step %d: window %v, want 0 or more", q.Name, i, s.Window)
	case s.Players != 0 && (s.Players < max(2, q.Teams) || s.Players > q.players()):
		return fmt.Errorf("queue %s: step %d: %d players, want 0, or %d to %d", q.Name, i, s.Players, max(2, q.Teams), q.players())
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
	for i, l := range t.Labels {
		if l == labelOfNobody || len(l) > maxLabel {
			return hub.Invalid(fmt.Sprintf("labels[%d]", i), "%d bytes, want 1 to %d", len(l), maxLabel)
		}
	}
	return nil
}

// Backfill is a room that lacks players.
type Backfill struct {
	Room   string
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
