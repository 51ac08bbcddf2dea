package match

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Notifier tells players. It is a *notify.Dispatcher.
type Notifier interface {
	Notify(ctx context.Context, n *hub.Notification) (hub.Summary, error)
}

// Hooks takes events for backends. Publish never blocks; false says that there is
// no room for the event. Those of one subject are delivered in their order.
type Hooks interface {
	Publish(kind, subject string, data any) bool
}

// Deps is what Tickets needs.
type Deps struct {
	Queues []*Queue // valid, no name twice
	Data   *redisx.Role
	Keys   hub.Keys
	// Closed has new tickets refused: no matcher of the deployment could open a
	// room.
	Closed bool
	Notify Notifier // nil: nobody is told that a ticket has ended
	Hooks  Hooks    // nil: no backend is told
	Log    *slog.Logger
	Reg    prometheus.Registerer // may be nil
}

// Tickets are those who wait, in data Redis: any number of processes may have the
// same queues. Each ticket that was created ends once, by a name, or waits; each
// player has one live ticket of a queue at most. It is safe for concurrent use.
// What it writes on behalf of callers survives a failover, except for heartbeats.
type Tickets struct {
	queues map[string]*line
	order  []*line
	closed bool
	tell   *teller
}

// line is a queue with its place in Redis.
type line struct {
	*Queue
	*shelf

	waits waits
}

// NewTickets returns the tickets of d's queues. It does no I/O.
func NewTickets(d Deps) *Tickets {
	t := &Tickets{queues: make(map[string]*line), closed: d.Closed}
	t.tell = &teller{notify: d.Notify, hooks: d.Hooks, log: d.Log, metrics: newMetrics(d.Reg)}
	for _, q := range d.Queues {
		l := &line{Queue: q, shelf: newShelf(d.Data, d.Keys, q.Name)}
		t.queues[q.Name] = l
		t.order = append(t.order, l)
	}
	return t
}

// Queue returns the queue of a name, nil when there is none.
func (t *Tickets) Queue(name string) *Queue {
	if l := t.queues[name]; l != nil {
		return l.Queue
	}
	return nil
}

// find returns the queue of a ticket.
func (t *Tickets) find(id string) (*line, error) {
	if l := t.queues[queueOf(id)]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNoTicket, id)
}

// Put has a ticket wait in a queue, from now on; its ID is made by TicketID. beats
// says that the caller will call Beat for it: then it is lost when the caller does
// not for the queue's Heartbeat. made is false when the ticket was there already,
// or another live one of one of its players, which is returned instead.
//
// Errors: ErrNoQueue; ErrClosed; a *hub.FieldError for what the queue does not take;
// a *hub.RoomError when too many wait; hub.ErrUnavailable.
func (t *Tickets) Put(ctx context.Context, queue string, x *Ticket, beats bool) (s State, made bool, err error) {
	l := t.queues[queue]
	switch {
	case l == nil:
		return State{}, false, fmt.Errorf("%w: %q", ErrNoQueue, queue)
	case t.closed:
		return State{}, false, ErrClosed
	}
	if err := l.Check(x); err != nil {
		return State{}, false, err
	}
	for range 3 { // a ticket that was in the way may end before it is looked at
		replies, err := l.copied(ctx, putScript, l.putArgs(x, 0, beats))
		if err != nil {
			return State{}, false, fmt.Errorf("put ticket %s: %w", x.ID, err)
		}
		sign, err := t.readPut(l, x, list(replies[0]))
		if err != nil {
			return State{}, false, err
		}
		if sign.made {
			return t.fresh(ctx, l, x), true, nil
		}
		s, err := t.get(ctx, l, sign.ID)
		inTheWay := sign.ID == x.ID || err != nil || !s.Status.Ended()
		if inTheWay && !errors.Is(err, ErrNoTicket) {
			return s, false, err
		}
	}
	return State{}, false, fmt.Errorf("put ticket %s: %w: others of its players come and go", x.ID, hub.ErrUnavailable)
}

// fresh is the state of a ticket that was just put.
func (t *Tickets) fresh(ctx context.Context, l *line, x *Ticket) State {
	s := State{Ticket: *x, Queue: l.Name, Status: Waiting, Estimate: l.estimate(ctx, x.Rating)}
	s.Since = time.Now()
	return s
}

// Sign is what a heartbeat finds.
type Sign struct {
	ID     string // of the ticket, or of another one of its players that lives
	Status Status // Waiting unless it has ended; a live ticket may be claimed
	Match  string // that it was matched by

	made bool
}

// fullAfter is when to try again to enter a full queue.
const fullAfter = 5 * time.Second

// readPut reads the reply of put.lua.
func (t *Tickets) readPut(l *line, x *Ticket, reply []any) (Sign, error) {
	switch text(reply, 0) {
	case "new":
		t.tell.metrics.created.WithLabelValues(l.Name).Inc()
		return Sign{ID: x.ID, Status: Waiting, made: true}, nil
	case "live":
		return Sign{ID: text(reply, 1), Status: Waiting}, nil
	case "ended":
		return Sign{ID: x.ID, Status: Status(text(reply, 1)), Match: text(reply, 2)}, nil
	default:
		t.tell.metrics.refused.WithLabelValues(l.Name).Inc()
		return Sign{}, &hub.RoomError{Pot: hub.PotMatch, After: fullAfter, Detail: "queue " + l.Name + ": " + text(reply, 1)}
	}
}

// beatBatch is how many heartbeats one pipeline carries.
const beatBatch = 256

// Beat shows that the owner of tickets of a queue lives. One that a failover has
// lost waits again, under its id and with its age, as its Since says by the
// caller's clock. It returns what became of each, in their order. On an error some
// may have been heard.
func (t *Tickets) Beat(ctx context.Context, queue string, all []*Ticket) ([]Sign, error) {
	l := t.queues[queue]
	if l == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	signs := make([]Sign, 0, len(all))
	for len(all) > 0 {
		some := all[:min(beatBatch, len(all))]
		all = all[len(some):]
		calls := make([][]any, len(some))
		for i, x := range some {
			calls[i] = l.putArgs(x, time.Since(x.Since), true)
		}
		replies, err := l.runAll(ctx, putScript, calls...)
		if err != nil {
			return signs, fmt.Errorf("heartbeat of %d tickets: %w", len(some), err)
		}
		for i, reply := range replies {
			sign, err := t.readPut(l, some[i], list(reply))
			if err != nil {
				sign = Sign{ID: some[i].ID, Status: Lost} // there is no room to make it again
			}
			signs = append(signs, sign)
		}
	}
	return signs, nil
}

// Get says what is known of a ticket. How it ended is remembered for ten minutes,
// if not too many end. The error wraps ErrNoTicket when nothing is known.
func (t *Tickets) Get(ctx context.Context, id string) (State, error) {
	l, err := t.find(id)
	if err != nil {
		return State{}, err
	}
	return t.get(ctx, l, id)
}

func (t *Tickets) get(ctx context.Context, l *line, id string) (State, error) {
	reply, err := l.run(ctx, getScript, id)
	if err != nil {
		return State{}, fmt.Errorf("get ticket %s: %w", id, err)
	}
	said := list(reply)
	switch text(said, 0) {
	case "live":
		return l.readLive(ctx, id, said)
	case "ended":
		return l.readEnded(id, said), nil
	}
	return State{}, fmt.Errorf("%w: %q", ErrNoTicket, id)
}

// readLive reads what get.lua says of a ticket that lives.
func (l *line) readLive(ctx context.Context, id string, said []any) (State, error) {
	x, err := parseTicket(id, text(said, 1))
	if err != nil {
		return State{}, err
	}
	now, _ := strconv.ParseInt(text(said, 5), 10, 64)
	s := State{Ticket: *x, Queue: l.Name, Status: Waiting, Waited: time.UnixMilli(now).Sub(x.Since)}
	switch {
	case text(said, 3) == "a":
		until, _ := strconv.ParseInt(text(said, 4), 10, 64)
		s.Status, s.Until = Offered, time.UnixMilli(until)
	case text(said, 2) != "":
		s.Status = Claimed
	default:
		s.Estimate = l.estimate(ctx, x.Rating)
	}
	return s, nil
}

// readEnded reads what get.lua says of a ticket that has ended.
func (l *line) readEnded(id string, said []any) State {
	s := State{Ticket: Ticket{ID: id}, Queue: l.Name, Status: Status(text(said, 1))}
	var found Found
	if told := text(said, 3); told != "" && json.Unmarshal([]byte(told), &found) == nil {
		s.Found = &found
	}
	return s
}
