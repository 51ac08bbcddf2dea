package roster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/outage"
)

// listPage is how many nodes are read at a time.
const listPage = 64

// Snapshot is how all nodes are, by their IDs. At is the time of Redis. The error wraps
// hub.ErrUnavailable.
func (r *Roster) Snapshot(ctx context.Context) (fleet.Snapshot, error) {
	all, at, err := r.members(ctx)
	s := fleet.Snapshot{At: at}
	for i := range all {
		s.Nodes = append(s.Nodes, all[i].Node)
	}
	return s, err
}

// Find is how one node is. Errors: ErrNoNode; those that wrap hub.ErrUnavailable.
func (r *Roster) Find(ctx context.Context, node string) (fleet.Node, time.Time, error) {
	all, at, err := r.read(ctx, []any{node})
	if err == nil && len(all) == 0 {
		err = ErrNoNode
	}
	if err != nil {
		return fleet.Node{}, at, err
	}
	return all[0].Node, at, nil
}

// member is a node with the processes that it has.
type member struct {
	fleet.Node

	processes []hub.ProcessID
}

func (r *Roster) members(ctx context.Context) (all []member, at time.Time, err error) {
	var ids []string
	err = r.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error { // the master: a node that is red must not look ready
		var now time.Time
		pipe := c.Pipeline()
		names, clock := pipe.SMembers(ctx, r.nodes), pipe.Time(ctx)
		_, err := pipe.Exec(ctx)
		ids, now = names.Val(), clock.Val()
		at = now
		return err
	})
	if err != nil {
		return nil, at, outage.During("listing nodes", err)
	}
	for page := range slices.Chunk(ids, listPage) {
		args := make([]any, len(page))
		for i, id := range page {
			args[i] = id
		}
		some, then, err := r.read(ctx, args)
		if err != nil {
			return nil, at, err
		}
		all, at = append(all, some...), then
	}
	slices.SortFunc(all, func(a, b member) int { return cmp.Compare(a.ID, b.ID) })
	return all, at, nil
}

// read returns the nodes of ids that are there.
func (r *Roster) read(ctx context.Context, ids []any) (all []member, at time.Time, err error) {
	reply, err := r.run(ctx, "reading nodes", listScript, ids...)
	if err != nil {
		return nil, at, err
	}
	for i := 1; i+3 < len(reply); i += 4 {
		m, err := parseMember(text(reply, i), text(reply, i+1), text(reply, i+2), text(reply, i+3))
		if err != nil {
			return nil, at, fmt.Errorf("node %s: %w", text(reply, i), err)
		}
		all = append(all, m)
	}
	return all, time.UnixMilli(number(reply, 0)).UTC(), nil
}

// facts is what a node has said that does not change, as its reports carry it.
type facts struct {
	Endpoint string            `json:"endpoint"`
	Cluster  string            `json:"cluster"`
	Region   string            `json:"region,omitempty"`
	Version  string            `json:"version,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Capacity int               `json:"capacity,omitempty"`
	Workers  int               `json:"workers"`
}

// listed is what list.lua says of a node.
type listed struct {
	State       fleet.State `json:"state"`
	Why         string      `json:"why"`
	Conflict    string      `json:"conflict"`
	Reserved    int         `json:"reserved"`
	Live        int         `json:"live"`
	DrainID     string      `json:"drain_id"`
	By          string      `json:"by"`
	Connections int         `json:"connections"`
	Rooms       int         `json:"rooms"`
	Seats       int         `json:"seats"`
	CPU         float64     `json:"cpu"`
	Memory      float64     `json:"memory"`
	Lag         float64     `json:"lag_ms"`
	Told        int         `json:"told"`
	Left        int         `json:"left"`
	LeftRooms   int         `json:"left_rooms"`
	Processes   string      `json:"processes"`
}

func parseMember(id, factsText, drain, rest string) (m member, err error) {
	var f facts
	var l listed
	if err := json.Unmarshal([]byte(factsText), &f); err != nil {
		return m, err
	}
	if err := json.Unmarshal([]byte(rest), &l); err != nil {
		return m, err
	}
	m.Node = fleet.Node{
		ID: id, Endpoint: f.Endpoint, Cluster: f.Cluster, Region: f.Region, Version: f.Version, Labels: f.Labels,
		State: l.State, Why: l.Why, Conflict: l.Conflict, Capacity: f.Capacity, Workers: f.Workers,
		Reserved: l.Reserved, Processes: l.Live,
		Load: fleet.Load{
			Connections: l.Connections, Rooms: l.Rooms, Seats: l.Seats,
			CPU: l.CPU, Memory: int64(l.Memory), LagMillis: l.Lag,
		},
	}
	if drain != "" {
		m.Drain = new(fleet.Drain)
		if err := json.Unmarshal([]byte(drain), m.Drain); err != nil {
			return m, err
		}
		m.Progress = &fleet.Progress{ID: m.Drain.ID, Told: l.Told, Left: l.Left, Rooms: l.LeftRooms}
	}
	for p := range strings.FieldsSeq(l.Processes) {
		m.processes = append(m.processes, hub.ProcessID(p))
	}
	return m, nil
}
