package roster

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

// Identity is what a node says of itself that does not change while it lives.
type Identity struct {
	Node     string // its ID
	Front    string // which front it is: drawn at each start of its master
	Endpoint string // where players reach it: host:port
	Cluster  string
	Region   string // empty: none
	Version  string // empty: unknown
	Labels   map[string]string
	Capacity int // players; 0: no bound is known
	Workers  int // when all are there
}

const (
	maxLabels   = 16
	maxLabel    = 128 // bytes of a value
	maxWorkers  = 1024
	maxCapacity = 1 << 30
)

// Check reports what cannot be, as a *hub.FieldError.
func (i *Identity) Check() error {
	switch {
	case i.Workers < 1 || i.Workers > maxWorkers:
		return hub.Invalid("workers", "%d: want 1 to %d", i.Workers, maxWorkers)
	case i.Capacity < 0 || i.Capacity > maxCapacity:
		return hub.Invalid("capacity", "%d: want 0 to %d", i.Capacity, maxCapacity)
	case len(i.Labels) > maxLabels:
		return hub.Invalid("labels", "%d: want at most %d", len(i.Labels), maxLabels)
	}
	for k, v := range i.Labels {
		if !name.MatchString(k) || len(v) > maxLabel {
			return hub.Invalid("labels", "%q=%q: want a name %s and a value of at most %d bytes", k, v, name, maxLabel)
		}
	}
	for _, err := range []error{
		CheckNode(i.Node), checkName("cluster", i.Cluster), checkOptional("region", i.Region), checkOptional("version", i.Version),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Report is what one worker of a node says once a second.
type Report struct {
	Identity

	Process  hub.ProcessID
	Slot     int // its place among the workers: who takes it succeeds who had it
	Stopping bool
	Last     bool           // it ends now
	Load     fleet.Load     // its own; CPU is its part of all the machine's
	Progress fleet.Progress // of its drain
	Arrived  []Arrival      // since the batch before
	Batch    uint64         // of arrivals: one that is reported again counts once
}

// Arrival is a player who came with a ticket.
type Arrival struct {
	Assignment string
	Players    int // whom the assignment is for
}

// said is the part of a report that the scripts sum up.
type said struct {
	Front       string  `json:"front"`
	Slot        int     `json:"slot"`
	Stopping    bool    `json:"stopping"`
	Connections int     `json:"connections"`
	Rooms       int     `json:"rooms"`
	Seats       int     `json:"seats"`
	CPU         float64 `json:"cpu"`
	Memory      int64   `json:"memory"`
	Lag         float64 `json:"lag_ms"`
	Drain       string  `json:"drain"`
	Told        int     `json:"told"`
	Left        int     `json:"left"`
	LeftRooms   int     `json:"left_rooms"`
}

// standingOrders are what a node was told last, so that Redis can be told.
type standingOrders struct {
	number                  int64
	red, drain, drainID, by string
}

// reported is what a report is answered with.
type reported struct {
	fleet.Orders

	standing standingOrders
	now      time.Time // of Redis
	missing  int       // arrivals for which no place was kept
	lapsed   int       // places of players who did not come
}

// Report takes what a worker says, and answers with the orders of its node. Errors:
// *ConflictError; those that wrap hub.ErrUnavailable: it may have been taken, and can be
// given again with the same Batch.
func (r *Roster) Report(ctx context.Context, p Report) (fleet.Orders, error) {
	got, err := r.report(ctx, &p, standingOrders{})
	return got.Orders, err
}

func (r *Roster) report(ctx context.Context, p *Report, known standingOrders) (got reported, err error) {
	args, err := r.reportArgs(p, known)
	if err != nil {
		return got, err
	}
	reply, err := r.run(ctx, "reporting to the roster", reportScript, args...)
	if err != nil {
		return got, err
	}
	switch text(reply, 0) {
	case "left":
		return got, nil
	case "full":
		return got, fmt.Errorf("%w: there are %d nodes", hub.ErrUnavailable, maxNodes)
	case "conflict":
		return got, &ConflictError{text(reply, 1)}
	}
	return r.readOrders(reply)
}

func (r *Roster) reportArgs(p *Report, known standingOrders) ([]any, error) {
	f, err := json.Marshal(&facts{p.Endpoint, p.Cluster, p.Region, p.Version, p.Labels, p.Capacity, p.Workers}, json.Deterministic(true))
	if err != nil {
		return nil, hub.Invalid("labels", "%v", err)
	}
	s, err := json.Marshal(&said{
		p.Front, p.Slot, p.Stopping, p.Load.Connections, p.Load.Rooms, p.Load.Seats, p.Load.CPU, p.Load.Memory, p.Load.LagMillis,
		p.Progress.ID, p.Progress.Told, p.Progress.Left, p.Progress.Rooms,
	})
	if err != nil {
		return nil, hub.Invalid("load", "%v", err)
	}
	args := []any{
		p.Node, string(p.Process), s, flag(p.Last), p.Front, p.Endpoint, p.Cluster, p.Region + "|" + p.Version,
		p.Capacity, p.Workers, f, strconv.FormatUint(p.Batch, 10),
		known.number, known.red, known.drain, known.drainID, known.by, r.mark(), r.spare, maxNodes,
	}
	for _, a := range p.Arrived {
		args = append(args, a.Assignment, a.Players)
	}
	return args, nil
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// orderFields is where the targets begin in the reply of report.lua.
const orderFields = 13

// readOrders reads the reply of report.lua.
func (r *Roster) readOrders(reply []any) (got reported, err error) {
	got.standing = standingOrders{number(reply, 1), text(reply, 2), text(reply, 3), text(reply, 4), text(reply, 5)}
	got.now = time.UnixMilli(number(reply, 9))
	r.learn(text(reply, 10))
	got.missing, got.lapsed = int(number(reply, 11)), int(number(reply, 12))
	got.Red = got.standing.red
	if all := number(reply, 7); all > 0 {
		got.Share = float64(number(reply, 6)) / float64(all)
	} else if live := number(reply, 8); live > 0 {
		got.Share = 1 / float64(live)
	}
	if got.standing.drainID == "" {
		return got, nil
	}
	got.Drain = new(fleet.Drain)
	if err := json.Unmarshal([]byte(got.standing.drain), got.Drain); err != nil {
		return got, fmt.Errorf("the order to drain: %w", err)
	}
	got.Targets = readTargets(reply[min(orderFields, len(reply)):])
	return got, nil
}

// readTargets weighs the nodes where players may go by how many more they take; those of
// which that is not known by how many fewer they have than the fullest of them.
func readTargets(list []any) (all []fleet.Target) {
	var most int64
	for i := 0; i+2 < len(list); i += 3 {
		if number(list, i+1) == 0 {
			most = max(most, number(list, i+2))
		}
	}
	for i := 0; i+2 < len(list); i += 3 {
		carries, has := number(list, i+1), number(list, i+2)
		if carries == 0 {
			carries = most + 100
		}
		if carries > has {
			all = append(all, fleet.Target{Endpoint: text(list, i), Free: int(carries - has)})
		}
	}
	return all
}
