// Package layout sees to it that all processes of a deployment use the same
// Redis in the same way. Users and pairs of processes are spread over the
// shards by the shards' names, so a process with another list, another spelling
// of one address or another prefix would look where nobody is, and say
// "offline".
//
// Each process enters its layout on every shard that it uses, compares it with
// what it finds, and looks whether processes of the other role use that shard
// too. One that differs is not ready, and says where. While the list of shards
// changes, processes that know the list before (redisx.Config) and those that
// only know that list agree.
package layout

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

//go:embed lua/agree.lua
var agreeSource string

var agreeScript = redis.NewScript(agreeSource)

// The roles that enter a layout.
const (
	API   = "api"
	Front = "front"
)

const (
	// period is between two comparisons, and hurry while no shard answers: a
	// process that starts waits for the first.
	period = 2 * time.Second
	hurry  = 50 * time.Millisecond
	// entryStands is how long an entry outlives the processes that made it: so
	// long must all of them be stopped before they may come back with a layout
	// that has nothing to do with the one before.
	entryStands = 15 * time.Second
	// lonelyAfter is how long a process may meet nobody of the other role before
	// it looks whether that goes by another prefix.
	lonelyAfter = 10 * time.Second
	// maxScan bounds the keys looked at for that, and scanEvery how often.
	maxScan   = 200_000
	scanEvery = 30 * time.Second
)

// ErrDiffers marks a layout that is not that of the others.
var ErrDiffers = fmt.Errorf("%w: the layout of Redis differs", hub.ErrUnavailable)

// Check compares one process's layout with the others'. It is safe for
// concurrent use; Run must be running.
type Check struct {
	shards []*redisx.Shard
	mine   string
	before string
	keys   hub.Keys
	role   string
	who    string
	log    *slog.Logger
	gauge  prometheus.Gauge

	verdict atomic.Pointer[verdict]
	agreed  chan struct{} // closed when it first agreed

	// Owned by Run.
	began   time.Time
	met     time.Time // when somebody of the other role was met last
	scanned time.Time
	foreign string // a prefix by which the other role goes, "" for none
}

// verdict is the outcome of the last comparison; err is nil when all agree.
type verdict struct{ err error }

// New returns the check of a process of the role given. It does no I/O.
func New(r *redisx.Redis, keys hub.Keys, role string, log *slog.Logger, reg prometheus.Registerer) *Check {
	node, err := os.Hostname()
	if err != nil {
		node = "unknown"
	}
	c := &Check{
		mine:   essence(r.Layout()),
		before: essence(r.LayoutBefore()),
		keys:   keys,
		role:   role,
		who:    fmt.Sprintf("%s %s pid %d", role, node, os.Getpid()),
		log:    log,
		agreed: make(chan struct{}),
		gauge: promauto.With(reg).NewGauge(prometheus.GaugeOpts{
			Name: "homing_layout_differs",
			Help: "1 while this process's prefix and lists of shards are not those of the others.",
		}),
	}
	for _, role := range []*redisx.Role{r.Data, r.PubSub, r.Inbox} {
		for _, sh := range role.All() {
			if !slices.Contains(c.shards, sh) {
				c.shards = append(c.shards, sh)
			}
		}
	}
	return c
}

// essence leaves of a layout what matters: the only shard of a role may be
// called this or that.
func essence(layout string) string {
	roles := strings.Fields(layout)
	for i, r := range roles {
		if name, shards, _ := strings.Cut(r, "="); !strings.Contains(shards, ",") {
			roles[i] = name + "=*"
		}
	}
	return strings.Join(roles, " ")
}

// Run compares every two seconds until ctx ends; then it returns nil. What
// cannot be compared because a shard does not answer changes nothing.
func (c *Check) Run(ctx context.Context) error {
	c.began = time.Now()
	c.met = c.began
	for {
		pause := period
		if !c.compare(ctx) {
			pause = hurry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// Err says how the layout differs from the others', as an error that wraps
// ErrDiffers; nil while it does not, as far as is known.
func (c *Check) Err() error {
	if v := c.verdict.Load(); v != nil {
		return v.err
	}
	return nil
}

// WaitAgreed blocks until the layout was compared on at least one shard and
// agrees, or ctx ends.
func (c *Check) WaitAgreed(ctx context.Context) error {
	select {
	case <-c.agreed:
		return nil
	case <-ctx.Done():
		return errors.Join(c.Err(), ctx.Err())
	}
}

// compare looks at every shard once, and reports whether any answered.
func (c *Check) compare(ctx context.Context) bool {
	var differs error
	answered, met := 0, false
	var unmet []string
	for _, sh := range c.shards {
		f, err := c.enter(ctx, sh)
		if err != nil {
			continue // the shard's own troubles are told elsewhere
		}
		answered++
		if f.other(c.role) {
			met = true
		} else if !f.changing {
			unmet = append(unmet, sh.Name())
		}
		if !f.agrees && differs == nil {
			differs = fmt.Errorf("%w: here %q, on %s %q (%s)", ErrDiffers, c.mine, sh.Name(), f.layout, f.by)
		}
	}
	if met {
		c.met = time.Now()
	}
	if differs == nil && met && len(unmet) > 0 && time.Since(c.began) > lonelyAfter {
		differs = fmt.Errorf("%w: no %s uses %s, though there is one on another shard", ErrDiffers, c.other(), strings.Join(unmet, ", "))
	}
	if answered == 0 || ctx.Err() != nil {
		return false
	}
	if differs == nil {
		differs = c.alone(ctx)
	}
	c.conclude(differs)
	return true
}

func (c *Check) conclude(differs error) {
	before := c.verdict.Swap(&verdict{differs})
	was := before != nil && before.err != nil
	switch {
	case differs != nil && !was:
		c.gauge.Set(1)
		c.log.Error("not ready: this process does not use Redis as the others do", "err", differs)
	case differs == nil && was:
		c.gauge.Set(0)
		c.log.Info("the layout of Redis is that of the others now")
	}
	if differs == nil {
		select {
		case <-c.agreed:
		default:
			close(c.agreed)
		}
	}
}

// found is what stands on one shard.
type found struct {
	agrees     bool
	changing   bool // the list of shards is being changed
	layout, by string
	api, front int64 // seconds since one of the role entered it; -1: never
}

// other reports whether a process of the other role has been there lately.
func (f *found) other(role string) bool {
	age := f.front
	if role == Front {
		age = f.api
	}
	return age >= 0 && age < int64(entryStands/time.Second)
}

// enter compares and enters the layout on sh.
func (c *Check) enter(ctx context.Context, sh *redisx.Shard) (f found, err error) {
	var reply []any
	err = sh.Write(ctx, func(ctx context.Context, cl *redis.Client) (err error) {
		reply, err = agreeScript.Run(ctx, cl, []string{c.keys.Layout(), c.keys.LayoutBefore()},
			c.mine, c.before, c.who, c.role, int64(entryStands/time.Second)).Slice()
		return err
	})
	if err != nil {
		return found{}, err
	}
	return readFound(reply)
}

var errReply = errors.New("not a reply of agree.lua")

func readFound(reply []any) (f found, err error) {
	if len(reply) != 6 {
		return f, errReply
	}
	agrees, ok := reply[0].(int64)
	f.layout, _ = reply[1].(string)
	f.by, _ = reply[2].(string)
	api, ok1 := reply[3].(int64)
	front, ok2 := reply[4].(int64)
	changing, ok3 := reply[5].(int64)
	if !ok3 || !ok || !ok1 || !ok2 {
		return f, errReply
	}
	f.agrees, f.changing, f.api, f.front = agrees == 1, changing == 1, api, front
	return f, nil
}

// alone looks, when nobody of the other role has been met for a while, whether
// there is a prefix under which it is the other way round: one of the two is
// mistyped.
func (c *Check) alone(ctx context.Context) error {
	if time.Since(c.met) < lonelyAfter {
		c.foreign = ""
		return nil
	}
	if time.Since(c.scanned) >= scanEvery {
		c.scanned = time.Now()
		c.foreign = c.searchPrefix(ctx)
	}
	if c.foreign == "" {
		return nil
	}
	return fmt.Errorf("%w: no %s under the prefix %q, but one under %q on the same Redis, which has no %s", ErrDiffers, c.other(), c.keys.Prefix(), c.foreign, c.role)
}

// other is the role that this process works with.
func (c *Check) other() string {
	if c.role == Front {
		return API
	}
	return Front
}

// searchPrefix returns a prefix with processes of the other role only, "" when
// it finds none. Our user may not be let to look at what stands under another
// prefix, and need not: that is no trouble of ours.
func (c *Check) searchPrefix(ctx context.Context) (prefix string) {
	for _, sh := range c.shards {
		sh.Visit(ctx, func(ctx context.Context, n redisx.Node, cl *redis.Client) {
			if n.Role == redisx.Master && prefix == "" {
				prefix = c.scan(ctx, cl)
			}
		})
	}
	return prefix
}

func (c *Check) scan(ctx context.Context, cl *redis.Client) string {
	suffix := strings.TrimPrefix(c.keys.Layout(), c.keys.Prefix())
	for cursor, seen := uint64(0), 0; seen < maxScan; {
		keys, next, err := cl.Scan(ctx, cursor, "*"+suffix, 1000).Result()
		if err != nil {
			return ""
		}
		for _, k := range keys {
			if prefix := strings.TrimSuffix(k, suffix); prefix != c.keys.Prefix() && c.complements(ctx, cl, k) {
				return prefix
			}
		}
		if cursor, seen = next, seen+1000; cursor == 0 {
			break
		}
	}
	return ""
}

// complements reports whether the layout under key was entered by the other
// role and not by this one.
func (c *Check) complements(ctx context.Context, cl *redis.Client, key string) bool {
	roles, err := cl.HMGet(ctx, key, API, Front).Result()
	if err != nil || len(roles) != 2 {
		return false
	}
	api, front := roles[0] != nil, roles[1] != nil
	if c.role == Front {
		return api && !front
	}
	return front && !api
}
