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

	// maxJobs bounds the requests that wait for their turn at Redis. batch is how many
	// go there at once, in one script, and batchPlayers how many players those are for,
	// but for a last one of more: so the script takes some milliseconds at most.
	maxJobs      = 8192
	batch        = 64
	batchPlayers = 128
	// assignTimeout bounds a batch.
	assignTimeout = 3 * time.Second
	// roomPause is between two looks for room of a request that waits.
	roomPause = 500 * time.Millisecond
)

// job is a request on its way to Redis.
//
//bound:assignments
type job struct {
	cluster string
	args    []any // see assign.lua
	ticket  ticket
	done    chan answer // has room for one
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
			jobs, players := []*job{j}, j.ticket.players
			for len(jobs) < batch && players < batchPlayers && len(r.jobs) > 0 {
				j := <-r.jobs
				jobs, players = append(jobs, j), players+j.ticket.players
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
	j := r.job(&q)
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

func (r *Roster) job(q *fleet.Request) *job {
	sum := sha256.Sum256([]byte(q.ID))
	id := base64.RawURLEncoding.EncodeToString(sum[:15])
	whole := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %q", q.Cluster, q.Region, q.Version, q.Players, q.Strategy))
	version := r.share(q.Version, sum[15:])
	mark := 1.0
	if q.Strategy == fleet.Pack {
		mark = r.cfg.Mark
	}
	orOther := ""
	if q.Version == "" && version != "" {
		orOther = "1"
	}
	return &job{
		cluster: q.Cluster,
		args: []any{
			id, base64.RawURLEncoding.EncodeToString(whole[:9]), q.Cluster, q.Players, string(q.Strategy),
			strconv.FormatFloat(mark, 'g', -1, 64), q.Region, version, orOther,
		},
		ticket: ticket{assignment: id, players: q.Players},
		done:   make(chan answer, 1),
	}
}

// share draws by lot, which is always the same for one request, the version that a
// request goes to. Empty: any but those that get a share.
func (r *Roster) share(asked string, lot []byte) string {
	if asked != "" {
		return asked
	}
	at := float64(binary.BigEndian.Uint32(lot)) / (1 << 32) * 100
	for _, v := range slices.Sorted(maps.Keys(r.cfg.Shares)) {
		if at -= r.cfg.Shares[v]; at < 0 {
			return v
		}
	}
	return ""
}

// head are those arguments of assign.lua that stand before the requests.
func (r *Roster) head() []any {
	args := []any{reservedFor.Milliseconds(), remembered.Milliseconds(), maxReserved, r.mark(), r.spare, len(r.cfg.Shares)}
	for v := range r.cfg.Shares {
		args = append(args, v)
	}
	return args
}

// assignAll carries out jobs in one script.
func (r *Roster) assignAll(ctx context.Context, jobs []*job) {
	ctx, cancel := context.WithTimeout(ctx, assignTimeout)
	defer cancel()
	args := r.head()
	for _, j := range jobs {
		args = append(args, j.args...)
	}
	const doing = "assigning a node"
	reply, err := r.run(ctx, doing, assignScript, args...)
	if err == nil && len(reply) != 1+len(jobs) {
		err = outage.During(doing, fmt.Errorf("%d answers to %d requests", len(reply)-1, len(jobs)))
	}
	if err != nil {
		for _, j := range jobs {
			j.done <- answer{err: err}
		}
		return
	}
	r.learn(text(reply, 0))
	for i, j := range jobs {
		one, _ := reply[1+i].([]any)
		j.done <- r.answer(j, one)
	}
}

// answer reads what assign.lua has said of j.
func (r *Roster) answer(j *job, reply []any) answer {
	switch text(reply, 0) {
	case "other":
		return answer{err: ErrOther}
	case "none":
		return answer{err: &NoCapacityError{Cluster: j.cluster, Nodes: int(number(reply, 1)), Unknown: int(number(reply, 2))}}
	}
	j.ticket.node, j.ticket.lapses = text(reply, 1), time.UnixMilli(number(reply, 3)).UTC()
	if text(reply, 4) == "0" {
		r.met.repeats.Inc()
	}
	return answer{Assignment: fleet.Assignment{
		Node: j.ticket.node, Endpoint: text(reply, 2), Ticket: r.key.Load().sign(&j.ticket), Expires: j.ticket.lapses,
	}}
}
