package control

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet/scale"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

// Kind is what an entry of the journal tells of.
type Kind string

// Kinds of entries.
const (
	KindLeader   Kind = "leader"   // another process leads
	KindDecision Kind = "decision" // the rules have decided
	KindOutcome  Kind = "outcome"  // what came of an action
	KindMark     Kind = "mark"     // a node is red, or answers again
	KindShadow   Kind = "shadow"   // what rules in the shadow would have decided
)

// Result is what came of an action.
type Result string

// Results. An action that is Unknown may have been carried out, or part of it, or nothing.
const (
	Done     Result = "done"
	Failed   Result = "failed"
	TimedOut Result = "timed_out"
	Refused  Result = "refused" // too many actions are under way: it was not begun
	Unknown  Result = "unknown" // its leader has gone
)

// Entry is one of the journal.
type Entry struct {
	At       time.Time       `json:"at"`
	Kind     Kind            `json:"kind"`
	Term     int64           `json:"term"`
	Leader   string          `json:"leader"`
	Action   string          `json:"action,omitempty"` // id of what is carried out; of KindDecision and KindOutcome
	Decision *scale.Decision `json:"decision,omitempty"`
	Result   Result          `json:"result,omitempty"`
	By       string          `json:"by,omitempty"`   // the driver; of KindShadow the file of rules
	Node     string          `json:"node,omitempty"` // of KindMark
	Why      string          `json:"why,omitempty"`  // of KindOutcome what failed, of KindMark why it is red, of KindShadow what it would want
	Took     time.Duration   `json:"took,omitempty"` // in nanoseconds
}

// String is the entry as a sentence.
func (e *Entry) String() string {
	switch e.Kind {
	case KindLeader:
		return e.Leader + " leads"
	case KindDecision:
		return decided(e.Decision)
	case KindShadow:
		return fmt.Sprintf("in the shadow, %s: %s", e.By, e.Why)
	case KindMark:
		if e.Why == "" {
			return e.Node + " answers"
		}
		return fmt.Sprintf("%s is red: %s", e.Node, e.Why)
	case KindOutcome:
		s := fmt.Sprintf("%s of %s: %s", e.Action, e.By, strings.ReplaceAll(string(e.Result), "_", " "))
		if e.Took > 0 {
			s += fmt.Sprintf(" after %v", e.Took.Round(time.Millisecond))
		}
		if e.Why != "" {
			s += ": " + e.Why
		}
		return s
	}
	return string(e.Kind)
}

// decided is a decision in words.
func decided(d *scale.Decision) string {
	if d == nil {
		return "nothing"
	}
	of := of(d.Cluster, d.Region)
	switch d.Action {
	case scale.Grow:
		return fmt.Sprintf("%s: start %d: %s", of, d.Nodes, d.Why)
	case scale.Drain, scale.Undrain, scale.Remove:
		return fmt.Sprintf("%s: %s %s: %s", of, d.Action, d.Node, d.Why)
	case scale.Hold, scale.Late, scale.Lost:
	}
	return fmt.Sprintf("%s: %s: %s", of, d.Action, d.Why)
}

var (
	//go:embed lua/save.lua
	saveSource string
	saveScript = redis.NewScript(saveSource)
)

// ErrFenced says that the term of the caller is over: another one leads.
var ErrFenced = errors.New("another controller leads the fleet")

const (
	// maxJournal is how many entries the journal keeps, about: days of a fleet that
	// changes all the time.
	maxJournal = 10_000
	// copyWait is how long replicas may take to have what was decided.
	copyWait = time.Second
	// maxWhy bounds what drivers and probes say, in bytes.
	maxWhy = 500
)

// Store is what controllers keep in Redis. It is safe for concurrent use.
type Store struct {
	shard          *redisx.Shard
	term           string
	state, journal string
}

// NewStore returns the store on r's data Redis. It does no I/O.
func NewStore(r *redisx.Redis, keys hub.Keys) *Store {
	return &Store{r.Data.Lead(), keys.FleetTerm(), keys.Fleet("rules"), keys.Fleet("journal")}
}

// memory is what one leader leaves to the next.
type memory struct {
	Rules   map[string]scale.State `json:"rules"`             // by cluster and region
	Running map[string]running     `json:"running,omitempty"` // actions whose outcome is not known, by id
}

// running is an action under way.
type running struct {
	Since    time.Time       `json:"since"`
	By       string          `json:"by"` // the driver
	Decision *scale.Decision `json:"decision"`
}

// save writes entries, and what is remembered where that is not nil. When it returns nil
// every replica that may be promoted has all of it. After any other error than ErrFenced
// it may be there or not.
func (s *Store) save(ctx context.Context, term int64, m *memory, entries []Entry) error {
	args := []any{term, "", maxJournal}
	if m != nil {
		text, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("what the rules remember: %w", err)
		}
		args[1] = text
	}
	for i := range entries {
		text, err := json.Marshal(&entries[i])
		if err != nil {
			return fmt.Errorf("an entry of the journal: %w", err)
		}
		args = append(args, text)
	}
	var cmd *redis.Cmd
	err := s.shard.WithScript(ctx, saveScript, func() error {
		_, err := s.shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
			cmd = saveScript.EvalSha(ctx, pipe, []string{s.term, s.state, s.journal}, args...)
		})
		return err
	})
	if err != nil {
		return outage.During("keeping what was decided", err)
	}
	if n, err := cmd.Int(); err != nil || n != 1 {
		return errors.Join(ErrFenced, err)
	}
	return nil
}

// load reads what the last leader has left; an empty memory when there is none.
func (s *Store) load(ctx context.Context) (m memory, err error) {
	var text []byte
	err = s.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error { // the master has it all
		text, err = c.Get(ctx, s.state).Bytes()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil):
		return memory{}, nil
	case err != nil:
		return memory{}, outage.During("reading what the last leader has decided", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return memory{}, fmt.Errorf("what the last leader has decided (%s): %w", s.state, err)
	}
	return m, nil
}

// Noted is an entry with its place in the journal.
type Noted struct {
	Entry

	Place string `json:"-"`
}

// Journal returns entries behind a place, oldest first; with an empty one the newest of
// all. It returns limit at most, which is above 0. Entries that cannot be read are left
// out. The error wraps hub.ErrUnavailable.
func (s *Store) Journal(ctx context.Context, after string, limit int) ([]Noted, error) {
	var list []redis.XMessage
	err := s.shard.Read(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		if after == "" {
			list, err = c.XRevRangeN(ctx, s.journal, "+", "-", int64(limit)).Result()
			slices.Reverse(list)
			return err
		}
		list, err = c.XRangeN(ctx, s.journal, "("+after, "+", int64(limit)).Result()
		return err
	})
	if err != nil {
		return nil, outage.During("reading the journal", err)
	}
	var all []Noted
	for _, m := range list {
		n := Noted{Place: m.ID}
		text, _ := m.Values["e"].(string)
		if json.Unmarshal([]byte(text), &n.Entry) == nil {
			all = append(all, n)
		}
	}
	return all, nil
}
