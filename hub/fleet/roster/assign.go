package roster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/outage"
)

const (
	// MaxPlayers is how many players one request may be for.
	MaxPlayers = 64

	// reservedFor is how long players may take to come, and remembered how long the
	// same ID is answered with the same.
	reservedFor = 15 * time.Second
	remembered  = time.Minute
	// maxReserved bounds the players who are on their way to one node.
	maxReserved = 1 << 16

	// maxJobs bounds the requests that wait for their turn at Redis, and batch is how
	// many go there at once.
	maxJobs = 8192
	batch   = 128
	// assignTimeout bounds a batch.
	assignTimeout = 3 * time.Second
	// roomPause is between two looks for room of a request that waits.
	roomPause = 500 * time.Millisecond
)

// job is a request on its way to Redis.
//
//bound:assignments
type job struct {
	args   []any
	ticket ticket
	done   chan answer // has room for one
}

type answer struct {
	fleet.Assignment

	err error
}

// Run carries out what Assign is asked for until ctx ends; then it returns nil.
func (r *Roster) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case j := <-r.jobs:
			jobs := []*job{j}
			for len(jobs) < batch && len(r.jobs) > 0 {
				jobs = append(jobs, <-r.jobs)
			}
			r.assignAll(ctx, jobs)
		}
	}
}

// Assign gives players a place at a node. A request that is repeated with its ID within a
// minute hears the same, unless nobody has come by then for 15 s, or the node takes no
// players any more: then it is given another place, in exchange. Without an ID it is
// given one. Run must be running.
//
// Errors: ErrNoCapacity, in a *NoCapacityError; ErrOther; ErrBusy; a *hub.FieldError;
// those that wrap hub.ErrUnavailable: a place may have been taken, which lapses.
func (r *Roster) Assign(ctx context.Context, q fleet.Request) (fleet.Assignment, error) {
	a, err := r.assign(ctx, q)
	r.met.assignments.WithLabelValues(resultOf(err)).Inc()
	return a, err
}

func (r *Roster) assign(ctx context.Context, q fleet.Request) (fleet.Assignment, error) {
	if err := r.complete(&q); err != nil {
		return fleet.Assignment{}, err
	}
	j := &job{done: make(chan answer, 1)}
	j.args, j.ticket = r.args(&q)
	select {
	case r.jobs <- j:
	default:
		return fleet.Assignment{}, ErrBusy
	}
	select {
	case a := <-j.done:
		return a.Assignment, a.err
	case <-ctx.Done():
		return fleet.Assignment{}, ctx.Err()
	}
}

// AssignWithin is Assign, and tries again for up to wait while there is no room. Only so
// many requests wait at a time: others are answered at once.
func (r *Roster) AssignWithin(ctx context.Context, q fleet.Request, wait time.Duration) (fleet.Assignment, error) {
	if q.ID == "" {
		q.ID = rand.Text()
	}
	deadline := time.Now().Add(wait)
	a, err := r.Assign(ctx, q)
	if !errors.Is(err, ErrNoCapacity) || wait <= 0 || r.parked.Add(1) > int64(r.cfg.Waiting) {
		if errors.Is(err, ErrNoCapacity) && wait > 0 {
			r.parked.Add(-1)
			r.met.crowded.Inc()
		}
		return a, err
	}
	defer r.parked.Add(-1)
	for errors.Is(err, ErrNoCapacity) && time.Until(deadline) > 0 {
		select {
		case <-ctx.Done():
			return a, err
		case <-time.After(min(roomPause, time.Until(deadline))):
		}
		a, err = r.Assign(ctx, q)
	}
	return a, err
}

// NoCapacityError is ErrNoCapacity, with what is there.
type NoCapacityError struct {
	Cluster string
	Nodes   int // of the cluster that take players
	Unknown int // of which nobody has said what they carry, so that pack cannot use them
}

func (e *NoCapacityError) Error() string {
	switch {
	case e.Unknown > 0:
		return fmt.Sprintf("no node has room: %d of cluster %s take players, %d of those without a --node-capacity, which pack needs", e.Nodes, e.Cluster, e.Unknown)
	case e.Nodes == 0:
		return "no node has room: none of cluster " + e.Cluster + " takes players now"
	}
	return fmt.Sprintf("no node has room: none of the %d of cluster %s that take players", e.Nodes, e.Cluster)
}

// Unwrap returns ErrNoCapacity.
func (e *NoCapacityError) Unwrap() error { return ErrNoCapacity }

// complete checks q and fills in what it leaves open.
func (r *Roster) complete(q *fleet.Request) error {
	if q.ID == "" {
		q.ID = rand.Text()
	}
	if q.Cluster == "" {
		q.Cluster = fleet.DefaultCluster
	}
	if q.Players == 0 {
		q.Players = 1
	}
	if q.Strategy == "" {
		q.Strategy = fleet.Strategy(r.cfg.PerCase[q.Cluster])
	}
	if q.Strategy == "" {
		q.Strategy = fleet.Strategy(r.cfg.Strategy)
	}
	if q.Strategy == "" {
		q.Strategy = fleet.Spread
	}
	switch {
	case len(q.ID) > 2*maxID:
		return hub.Invalid("id", "%d bytes, want at most %d", len(q.ID), 2*maxID)
	case q.Players < 1 || q.Players > MaxPlayers:
		return hub.Invalid("players", "%d: want 1 to %d", q.Players, MaxPlayers)
	case q.Strategy != fleet.Spread && q.Strategy != fleet.Pack:
		return hub.Invalid("strategy", "%q: want spread or pack", string(q.Strategy))
	}
	return errors.Join(checkName("cluster", q.Cluster), checkOptional("region", q.Region), checkOptional("version", q.Version))
}

// args are those of assign.lua after KEYS, but for the key of tickets, and the ticket
// that comes of it.
func (r *Roster) args(q *fleet.Request) ([]any, ticket) {
	sum := sha256.Sum256([]byte(q.ID))
	id := base64.RawURLEncoding.EncodeToString(sum[:15])
	whole := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %q", q.Cluster, q.Region, q.Version, q.Players, q.Strategy))
	version, others := r.share(q.Version, sum[15:])
	mark := 1.0
	if q.Strategy == fleet.Pack {
		mark = r.cfg.Mark
	}
	orOther := ""
	if q.Version == "" && version != "" {
		orOther = "1"
	}
	args := []any{
		id, base64.RawURLEncoding.EncodeToString(whole[:9]), q.Cluster, q.Players, string(q.Strategy),
		strconv.FormatFloat(mark, 'g', -1, 64), reservedFor.Milliseconds(), remembered.Milliseconds(), maxReserved,
		"", r.spare, q.Region, version, orOther,
	}
	for _, o := range others {
		args = append(args, o)
	}
	return args, ticket{assignment: id, players: q.Players}
}

// markArg is the place of the key's mark among the arguments.
const markArg = 9

// share draws by lot, which is always the same for one request, the version that a
// request goes to, and the versions that are for others.
func (r *Roster) share(asked string, lot []byte) (version string, others []string) {
	if asked != "" || len(r.cfg.Shares) == 0 {
		return asked, nil
	}
	at := float64(binary.BigEndian.Uint32(lot)) / (1 << 32) * 100
	for _, v := range slices.Sorted(maps.Keys(r.cfg.Shares)) {
		others = append(others, v)
		share := r.cfg.Shares[v]
		if version == "" && at >= 0 && at < share {
			version = v
		}
		at -= share
	}
	return version, others
}

// assignAll carries out jobs in one pipeline.
func (r *Roster) assignAll(ctx context.Context, jobs []*job) {
	ctx, cancel := context.WithTimeout(ctx, assignTimeout)
	defer cancel()
	mark := r.mark()
	var cmds []redis.Cmder
	err := r.shard.WithScript(ctx, assignScript, func() error {
		return r.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
			pipe := c.Pipeline()
			for _, j := range jobs {
				j.args[markArg] = mark
				assignScript.EvalSha(ctx, pipe, r.keys, j.args...)
			}
			cmds, err = pipe.Exec(ctx)
			return err
		})
	})
	for i, j := range jobs {
		if i >= len(cmds) || cmds[i].Err() != nil {
			j.done <- answer{err: outage.During("assigning a node", firstOf(err, cmds, i))}
			continue
		}
		reply, _ := cmds[i].(*redis.Cmd).Slice()
		j.done <- r.answer(j, reply)
	}
}

// firstOf is why command i has no reply.
func firstOf(err error, cmds []redis.Cmder, i int) error {
	if err == nil {
		return cmds[i].Err()
	}
	return err
}

// answer reads the reply of assign.lua.
func (r *Roster) answer(j *job, reply []any) answer {
	switch text(reply, 0) {
	case "other":
		return answer{err: ErrOther}
	case "none":
		cluster, _ := j.args[2].(string)
		return answer{err: &NoCapacityError{Cluster: cluster, Nodes: int(number(reply, 1)), Unknown: int(number(reply, 2))}}
	}
	r.learn(text(reply, 5))
	j.ticket.node, j.ticket.lapses = text(reply, 1), time.UnixMilli(number(reply, 3)).UTC()
	if text(reply, 4) == "0" {
		r.met.repeats.Inc()
	}
	return answer{Assignment: fleet.Assignment{
		Node: j.ticket.node, Endpoint: text(reply, 2), Ticket: r.key.Load().sign(&j.ticket), Expires: j.ticket.lapses,
	}}
}
