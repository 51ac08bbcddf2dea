package hook

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/roster.lua
	rosterSource string

	rosterScript = redis.NewScript(rosterSource)
)

// rosterTiming is how often what happens to a roster.
type rosterTiming struct {
	look     time.Duration // between two looks at the list
	announce time.Duration // between two words of an endpoint that is sent to
	patience time.Duration // for which a young process takes an empty list for one that is not there yet
	stale    time.Duration // after it without a word somebody else's endpoint is withdrawn
	forget   time.Duration // after it a withdrawn one is forgotten
}

func defaultRosterTiming() rosterTiming {
	return rosterTiming{
		look: 2 * time.Second, announce: 10 * time.Second, patience: 20 * time.Second,
		stale: 5 * time.Minute, forget: 24 * time.Hour,
	}
}

// rosterKept is how long the list outlives the last word of any endpoint.
const rosterKept = streamKept

// Roster is which endpoints a deployment has. Who sends to some, because its
// configuration names them, says so in Redis; everybody who publishes reads it there,
// and needs no configuration of its own. An endpoint is written for until those that
// send to it withdraw it, or until a process that sends to others has heard nothing of
// it for five minutes. A list that Redis has lost takes nobody off. It is safe for
// concurrent use. Run must be running.
type Roster struct {
	lead   *redisx.Shard
	key    string
	timing rosterTiming
	log    *complaints
	begun  time.Time
	now    atomic.Pointer[roster]

	mu        sync.Mutex
	own       map[string]Target // that this process sends to
	withdrawn map[string]bool   // those that it has sent to before, until Redis knows
	others    map[string]Target // as Redis said last
	read      bool              // Redis has answered
	changed   chan struct{}     // one word that own has changed

	// Owned by Run.
	announced time.Time
	seen      map[string]sighting // of other's endpoints
}

// roster is the list at one moment.
type roster struct {
	targets []Target      // by name
	known   bool          // else there may be others
	over    chan struct{} // closed when there is another
}

// sighting is what was said of an endpoint, and since when that has been unchanged.
type sighting struct {
	said  string
	since time.Time
}

// NewRoster returns a Roster.
func NewRoster(r *redisx.Redis, keys hub.Keys, log *slog.Logger) *Roster {
	x := &Roster{
		lead: r.Inbox.Lead(), key: keys.HookEndpoints(), timing: defaultRosterTiming(), log: newComplaints(log), begun: time.Now(),
		own: make(map[string]Target), withdrawn: make(map[string]bool), others: make(map[string]Target),
		changed: make(chan struct{}, 1), seen: make(map[string]sighting),
	}
	x.now.Store(&roster{over: make(chan struct{})})
	return x
}

// Have says which endpoints this process sends to. Those that it has sent to before and
// does not now are withdrawn.
func (x *Roster) Have(own []Target) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for name := range x.own {
		x.withdrawn[name] = true
		delete(x.others, name)
	}
	clear(x.own)
	for _, t := range own {
		x.own[t.Name] = t
		delete(x.withdrawn, t.Name)
	}
	x.publishLocked()
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

// current is the list now.
func (x *Roster) current() *roster { return x.now.Load() }

// publishLocked makes the list anew.
func (x *Roster) publishLocked() {
	all := maps.Clone(x.others)
	maps.Copy(all, x.own)
	r := &roster{known: len(x.own) > 0 || x.read && (len(all) > 0 || time.Since(x.begun) > x.timing.patience), over: make(chan struct{})}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		r.targets = append(r.targets, all[name])
	}
	before := x.now.Load()
	if r.known == before.known && slices.EqualFunc(r.targets, before.targets, Target.equal) {
		return
	}
	x.now.Store(r)
	close(before.over)
}

// Run reads and writes the list until ctx ends. It returns nil.
func (x *Roster) Run(ctx context.Context) error {
	every := time.NewTicker(x.timing.look)
	defer every.Stop()
	for {
		if err := x.look(ctx); err != nil && ctx.Err() == nil {
			x.log.warn("hook: reading which endpoints there are", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-x.changed:
			x.announced = time.Time{}
		case <-every.C:
		}
	}
}

// look reads the list. Who sends to endpoints says so when it is time.
func (x *Roster) look(ctx context.Context) error {
	now := time.Now()
	words, withdrawn := x.words(now)
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	var list map[string]string
	err := x.lead.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		if len(words) == 0 {
			list, err = c.HGetAll(ctx, x.key).Result()
			return err
		}
		args := append([]any{rosterKept.Milliseconds()}, words...)
		said, err := rosterScript.Run(ctx, c, []string{x.key}, args...).StringSlice()
		list = make(map[string]string, len(said)/2)
		for i := 0; i+1 < len(said); i += 2 {
			list[said[i]] = said[i+1]
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(words) > 0 {
		x.announced = now
	}
	x.take(list, withdrawn, now)
	return nil
}

// words is what there is to say now, as the script takes it, and which endpoints are
// withdrawn by that because they are no longer sent to from here.
func (x *Roster) words(now time.Time) (words []any, withdrawn []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now.Sub(x.announced) < x.timing.announce {
		return nil, nil
	}
	for _, t := range x.own {
		words = append(words, t.Name, t.said(), "")
	}
	for name := range x.withdrawn {
		words, withdrawn = append(words, name, "", ""), append(withdrawn, name)
	}
	if len(x.own) == 0 {
		return words, withdrawn // who sends to nobody knows of nobody
	}
	for name, s := range x.seen {
		switch age := now.Sub(s.since); {
		case strings.Contains(s.said, " ") && age > x.timing.stale:
			words = append(words, name, "", s.said)
		case !strings.Contains(s.said, " ") && age > x.timing.forget:
			words = append(words, name, "x", s.said)
		}
	}
	return words, withdrawn
}

// rosterMost is how many of other's endpoints are taken up: as many again may be
// withdrawn.
const rosterMost = 2 * MaxEndpoints

// take takes what the list says of other's endpoints.
func (x *Roster) take(list map[string]string, withdrawn []string, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.read = true
	for _, name := range withdrawn {
		delete(x.withdrawn, name)
	}
	maps.DeleteFunc(x.seen, func(name string, _ sighting) bool { _, there := list[name]; return !there })
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if _, mine := x.own[name]; mine || x.withdrawn[name] {
			delete(x.seen, name)
			continue
		}
		if s, known := x.seen[name]; !known || s.said != list[name] {
			x.seen[name] = sighting{list[name], now}
		}
		t, there, err := parseTarget(name, list[name])
		switch {
		case err != nil:
			x.log.warn("hook: an endpoint that cannot be used is passed over", "endpoint", clip(name), "err", err)
		case !there:
			delete(x.others, name)
		case len(x.others) < rosterMost:
			x.others[name] = t
		}
	}
	x.publishLocked()
}

// said is what the list has of t beside the time.
func (t *Target) said() string {
	return strconv.Itoa(t.StreamBytes) + " " + strings.Join(t.Events, " ")
}

// parseTarget reads what the list says of an endpoint; there is false when it was
// withdrawn.
func parseTarget(name, said string) (t Target, there bool, err error) {
	fields := strings.Fields(said)
	if len(fields) < 2 {
		return Target{}, false, nil
	}
	t = Target{Name: name, Events: fields[2:]}
	if t.StreamBytes, err = strconv.Atoi(fields[1]); err != nil {
		return Target{}, false, fmt.Errorf("bytes: %q", clip(fields[1]))
	}
	return t, true, t.Check()
}

// equal reports whether t and o are the same.
func (t Target) equal(o Target) bool {
	return t.Name == o.Name && t.StreamBytes == o.StreamBytes && slices.Equal(t.Events, o.Events)
}
