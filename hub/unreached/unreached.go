package unreached

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/note.lua
	noteSource string
	//go:embed lua/due.lua
	dueSource string

	noteScript = redis.NewScript(noteSource)
	dueScript  = redis.NewScript(dueSource)
)

// Type is the type of the events.
const Type = "notification.unreached"

// Config says when users are looked for.
type Config struct {
	After time.Duration `name:"hook-unreached-after" help:"How long users may be away for whom a notification was stored, until notification.unreached tells of them. At most 1h. 0: it never does." default:"30s"`
}

// maxAfter bounds Config.After.
const maxAfter = time.Hour

// Validate reports an option that cannot work.
func (c *Config) Validate() error {
	if c.After < 0 || c.After > maxAfter {
		return fmt.Errorf("--hook-unreached-after: %v: want 0 to %v", c.After, maxAfter)
	}
	return nil
}

const (
	// noteUsers is how many users one call of the script notes.
	noteUsers = 500
	// most is how many a shard may hold; beyond it the oldest are given up.
	//bound:unreached-due
	most = 100_000
	// kept is how long a shard's set outlives the last note.
	kept = 24 * time.Hour
	// copyWait is how long a note waits for the replicas.
	copyWait = time.Second
	// atOnce is how many are looked for at a time.
	atOnce = 200
	// soonMost is how many users may wait in memory to be noted; further ones are given
	// up. soonAtOnce is how many are noted at a time.
	//bound:unreached-soon
	soonMost   = 100_000
	soonAtOnce = 2000
	// soonPause is between two tries to write one that waits.
	soonPause = 500 * time.Millisecond
)

// Deps is what an Unreached works with. All of it must be running.
type Deps struct {
	Inbox  Inbox
	Index  Index
	Events Publisher
	Role   *redisx.Role // inbox
	Keys   hub.Keys
	Log    *slog.Logger
	Reg    prometheus.Registerer // may be nil
}

// Inbox says what is not acknowledged. It is an *inbox.Inbox.
type Inbox interface {
	Held(ctx context.Context, wants []inbox.Want) ([]*hub.Stored, error)
}

// Index says who is online. It is an *index.Index.
type Index interface {
	LocateNow(ctx context.Context, users []hub.UserID, services []hub.Service) (index.Placement, error)
}

// Publisher takes events. It is a *hook.Publisher.
type Publisher interface {
	Wants(kind string) bool
	Publish(e hook.Event) bool
	Written(subject string) func() bool
}

// Unreached notes users who are away, and looks for them later. It is safe for
// concurrent use. Run must be running in some process.
type Unreached struct {
	Deps

	after  time.Duration
	token  string // of this life, for turns
	timing timing
	fate   *prometheus.CounterVec

	mu   sync.Mutex
	told map[string]time.Time // complaints
	soon []note               // that wait for Redis
	wake chan struct{}        // one word that there are some
}

// note is that a user is to be looked for.
type note struct {
	id   string
	user hub.UserID
}

// timing is how often what happens.
type timing struct {
	look time.Duration // between two looks at a shard
	turn time.Duration // how long a turn stands
}

// What becomes of those that were noted.
const (
	fateTold         = "told"         // an event was published
	fateOnline       = "online"       // back by then
	fateAcknowledged = "acknowledged" // or expired, or pushed out of the inbox
	fateGivenUp      = "given_up"     // too many were noted
	fateMalformed    = "malformed"    // somebody else wrote it
)

// New returns an Unreached. cfg must be valid and not zero.
func New(cfg Config, d Deps) *Unreached {
	u := &Unreached{
		Deps: d, after: cfg.After, token: rand.Text(), told: make(map[string]time.Time), wake: make(chan struct{}, 1),
		timing: timing{look: time.Second, turn: 6 * time.Second},
		fate: promauto.With(d.Reg).NewCounterVec(prometheus.CounterOpts{
			Name: "homing_unreached_total",
			Help: "Users for whom a notification was stored while they were away, by what became of them when it was time to look.",
		}, []string{"fate"}),
	}
	for _, fate := range []string{fateTold, fateOnline, fateAcknowledged, fateGivenUp, fateMalformed} {
		u.fate.WithLabelValues(fate)
	}
	return u
}

// Note has users looked for later, for whom the notification id was stored. It
// returns when that stands at the masters and at all replicas that may be promoted.
// Repeating it is harmless. While no endpoint wants to hear of it, it does nothing. Errors
// wrap hub.ErrUnavailable when Redis was the cause.
func (u *Unreached) Note(ctx context.Context, id string, users []hub.UserID) error {
	if !u.Events.Wants(Type) {
		return nil
	}
	return u.note(ctx, notes(id, users))
}

func notes(id string, users []hub.UserID) []note {
	all := make([]note, len(users))
	for i, user := range users {
		all[i] = note{id, user}
	}
	return all
}

func (u *Unreached) note(ctx context.Context, all []note) error {
	parts := make(map[*redisx.Shard][]any)
	for _, n := range all {
		shard := u.Role.Shard(string(n.user))
		parts[shard] = append(parts[shard], n.id+" "+string(n.user))
	}
	for shard, members := range parts {
		if err := u.noteOn(ctx, shard, members); err != nil {
			return outage.During("unreached: noting who is away", err)
		}
	}
	return nil
}

// NoteSoon is Note for who does not wait. What waits is written by Run; it is lost
// with the process. When too much waits it is given up, and counted.
func (u *Unreached) NoteSoon(id string, users []hub.UserID) {
	if len(users) == 0 || !u.Events.Wants(Type) {
		return
	}
	u.mu.Lock()
	full := len(u.soon)+len(users) > soonMost
	if !full {
		u.soon = append(u.soon, notes(id, users)...)
	}
	u.mu.Unlock()
	if full {
		u.fate.WithLabelValues(fateGivenUp).Add(float64(len(users)))
		u.complain("unreached: too many notes wait for Redis; they are given up", "id", id, "users", len(users))
		return
	}
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// next is what is to be noted next of what NoteSoon has taken. It stays there until it
// is written.
func (u *Unreached) next() []note {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.soon[:min(len(u.soon), soonAtOnce)])
}

// noted takes the first n of those out.
func (u *Unreached) noted(n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.soon = u.soon[n:]; len(u.soon) == 0 {
		u.soon = nil
	}
}

// writeNotes writes what NoteSoon has taken until ctx ends. What a shard that is away
// has to take waits, and what is behind it.
func (u *Unreached) writeNotes(ctx context.Context) {
	for {
		some := u.next()
		var pause <-chan time.Time
		switch err := u.note(ctx, some); {
		case len(some) > 0 && err == nil:
			u.noted(len(some))
			continue
		case err != nil && ctx.Err() == nil:
			u.complain("unreached: notes wait for Redis", "err", err)
			pause = time.After(soonPause)
		}
		wake := u.wake
		if pause != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-pause:
		case <-wake:
		}
	}
}

func (u *Unreached) noteOn(ctx context.Context, shard *redisx.Shard, members []any) error {
	head := []any{
		"EVALSHA", noteScript.Hash(), 1, u.Keys.Unreached(), u.after.Milliseconds(), most, (u.after + kept).Milliseconds(),
	}
	var cmds []redis.Cmder
	err := shard.WithScript(ctx, noteScript, func() (err error) {
		cmds, err = shard.WriteCopied(ctx, copyWait, func(pipe redis.Pipeliner) {
			for some := range slices.Chunk(members, noteUsers) {
				pipe.Do(ctx, slices.Concat(head, some)...)
			}
		})
		return err
	})
	for _, c := range cmds {
		if call, ok := c.(*redis.Cmd); ok {
			if n, err := call.Int(); err == nil && n > 0 {
				u.fate.WithLabelValues(fateGivenUp).Add(float64(n))
				u.complain("unreached: too many users are away; the oldest are given up", "given_up", n)
			}
		}
	}
	return err
}

// complainEvery is how often the same is logged.
const complainEvery = 10 * time.Second

// complain logs text, which must be a constant, unless it was logged a moment ago.
func (u *Unreached) complain(text string, args ...any) {
	u.mu.Lock()
	recent := time.Since(u.told[text]) < complainEvery
	if !recent {
		u.told[text] = time.Now()
	}
	u.mu.Unlock()
	if !recent {
		u.Log.Warn(text, args...) //nolint:sloglint // callers give constants
	}
}

// absence is one user whom one notification has not reached.
type absence struct {
	member string
	inbox.Want
}

// absences reads members of a set.
func absences(members []string) (all []absence, malformed []any) {
	for _, m := range members {
		id, user, ok := strings.Cut(m, " ")
		if !ok {
			malformed = append(malformed, m)
			continue
		}
		all = append(all, absence{m, inbox.Want{User: hub.UserID(user), ID: id}})
	}
	return all, malformed
}
