package roster

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/outage"
	"github.com/homing/homing/redisx"
)

var (
	//go:embed lua/node.lua
	nodeSource string
	//go:embed lua/report.lua
	reportSource string
	//go:embed lua/assign.lua
	assignSource string
	//go:embed lua/order.lua
	orderSource string
	//go:embed lua/list.lua
	listSource string

	reportScript = redis.NewScript(nodeSource + reportSource)
	assignScript = redis.NewScript(nodeSource + assignSource)
	orderScript  = redis.NewScript(nodeSource + orderSource)
	listScript   = redis.NewScript(nodeSource + listSource)
)

// Errors beside *hub.FieldError and those that wrap hub.ErrUnavailable.
var (
	ErrNoNode     = errors.New("there is no such node")
	ErrFenced     = errors.New("the leader's term is over")
	ErrOperator   = errors.New("the node drains by an operator's order")
	ErrNoCapacity = errors.New("no node has room")
	ErrOther      = errors.New("the id is that of another request")
	ErrBusy       = fmt.Errorf("%w: too many wait for a place", hub.ErrUnavailable)
)

// ConflictError says that another front reports under the node's name.
type ConflictError struct{ Endpoint string } // of the other one

func (e *ConflictError) Error() string {
	return "the front at " + e.Endpoint + " has this node's name: give each front its own --node-name"
}

// maxNodes is how many nodes a fleet may have.
const maxNodes = 4096

// Config is what an operator can choose about assignments. All API servers have the same.
type Config struct {
	Strategy string             `help:"How players are assigned to nodes: spread (to the one with the least load) or pack (to the fullest that has room, so that others get empty and can be taken away)." enum:"spread,pack" default:"spread"`
	PerCase  map[string]string  `name:"strategies" help:"The same for a cluster, as game=pack." placeholder:"CLUSTER=STRATEGY"`
	Mark     float64            `help:"How full pack fills a node, as a part of --node-capacity." default:"0.9"`
	Shares   map[string]float64 `help:"How many of a hundred players go to nodes of a version, as 1.5=2; nobody else goes there. 0: nobody." placeholder:"VERSION=PERCENT"`
	Waiting  int                `help:"Requests that wait in this process until a node has room; more are refused." default:"512"`
}

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	for cluster, s := range c.PerCase {
		if fleet.Strategy(s) != fleet.Spread && fleet.Strategy(s) != fleet.Pack {
			return fmt.Errorf("assign.strategies: %s=%q: want spread or pack", cluster, s)
		}
	}
	sum := 0.0
	for version, share := range c.Shares {
		if share < 0 || share > 100 {
			return fmt.Errorf("assign.shares: %s=%v: want 0 to 100", version, share)
		}
		sum += share
	}
	switch {
	case sum > 100:
		return fmt.Errorf("assign.shares: %v percent in all: want at most 100", sum)
	case c.Mark <= 0 || c.Mark > 1:
		return fmt.Errorf("assign.mark: %v: want more than 0, at most 1", c.Mark)
	case c.Waiting < 0 || c.Waiting > maxJobs:
		return fmt.Errorf("assign.waiting: %d: want 0 to %d", c.Waiting, maxJobs)
	}
	return nil
}

// Roster is the roster of one fleet. It is safe for concurrent use. Its methods block for
// a round trip to Redis, those that give orders until these survive a failover.
type Roster struct {
	shard *redisx.Shard
	keys  []string
	nodes string // the key of the set of nodes
	cfg   Config
	met   metrics

	key    atomic.Pointer[ticketKey] // nil before the first is known
	spare  string                    // a key to be used if there is none
	jobs   chan *job
	parked atomic.Int64 // requests that wait for room
	unfit  unfit
}

// New returns the roster on r's data Redis. It does no I/O. The zero Config has players
// spread. reg may be nil.
func New(cfg Config, r *redisx.Redis, keys hub.Keys, reg prometheus.Registerer) *Roster {
	if cfg.Mark == 0 {
		cfg.Mark = 1
	}
	return &Roster{
		shard: r.Data.Lead(),
		keys:  []string{keys.Fleet(""), keys.Lease(""), keys.Tombstone("")},
		nodes: keys.Fleet("nodes"),
		cfg:   cfg, met: newMetrics(reg), spare: newKey(),
		jobs: make(chan *job, maxJobs),
	}
}

func newKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand.Read crashes the program instead
	return hex.EncodeToString(b[:])
}

// run runs a script once. What it did may be undone by a failover.
func (r *Roster) run(ctx context.Context, doing string, sc *redis.Script, args ...any) (reply []any, err error) {
	err = r.shard.WithScript(ctx, sc, func() error {
		return r.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
			reply, err = sc.EvalSha(ctx, c, r.keys, args...).Slice()
			return err
		})
	})
	if err != nil {
		return nil, outage.During(doing, err)
	}
	return reply, nil
}

const (
	// copyWait is how long an order waits for the replicas, each time.
	copyWait = time.Second
	// orderPatience is how long an order is tried again. A failover takes less.
	orderPatience = 4 * time.Second
	orderPause    = 50 * time.Millisecond
)

// copied runs the script of orders and returns its reply when all replicas that may be
// promoted have what it did. It tries again while a new master may mend what failed:
// orders bear repetition.
func (r *Roster) copied(ctx context.Context, args ...any) (string, error) {
	for start := time.Now(); ; {
		reply, err := r.copyOnce(ctx, args)
		if !errors.Is(err, redisx.ErrUnavailable) || errors.Is(err, redisx.ErrMisconfigured) || time.Since(start) > orderPatience {
			if err != nil {
				return "", outage.During("giving a node an order", err)
			}
			return reply, nil
		}
		select {
		case <-ctx.Done():
			return "", outage.During("giving a node an order", err)
		case <-time.After(orderPause):
		}
	}
}

func (r *Roster) copyOnce(ctx context.Context, args []any) (reply string, err error) {
	err = r.shard.WithScript(ctx, orderScript, func() error {
		cmds, err := r.shard.WriteCopied(ctx, copyWait, func(p redis.Pipeliner) { orderScript.EvalSha(ctx, p, r.keys, args...) })
		if len(cmds) == 0 {
			return err
		}
		reply, _ = cmds[0].(*redis.Cmd).Text()
		if _, refused := errors.AsType[redis.Error](err); refused && cmds[0].Err() == nil {
			// The script ran, and the waiting was refused: a master that is being
			// demoted lets go of everybody who waits.
			return fmt.Errorf("%w: %w", redisx.ErrNotCopied, err)
		}
		return err
	})
	return reply, err
}

// text reads a part of a reply that is a text; "" when there is none.
func text(l []any, i int) string {
	if i >= len(l) {
		return ""
	}
	s, _ := l[i].(string)
	return s
}

// number reads a part of a reply that is a number, or one as a text; 0 when there is none.
func number(l []any, i int) int64 {
	if i >= len(l) {
		return 0
	}
	if n, ok := l[i].(int64); ok {
		return n
	}
	n, _ := strconv.ParseInt(text(l, i), 10, 64)
	return n
}
