package loop

import (
	"context"
	"log/slog"
	"time"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

// Tick is the coarse clock: tenths of a second since the loop was made; the
// first is 1. Where a Tick is a deadline, 0 is none.
type Tick uint32

// TickLength is the grain of the coarse clock.
const TickLength = 100 * time.Millisecond

// TicksPerSecond is how many ticks a second has.
const TicksPerSecond = Tick(time.Second / TickLength)

// Ticks rounds d up to whole ticks.
func Ticks(d time.Duration) Tick { return Tick((d + TickLength - 1) / TickLength) }

// core is what all parts of a loop share: the connections, the clock, and the
// way to the loop's goroutine, which owns everything but posts and poller.Wake.
type core[S any] struct {
	h       Handler[S]
	log     *slog.Logger
	tracing bool // the log takes the level debug
	m       *metrics
	limits  limits

	poller  *epoll.Poller
	table   table[S]
	posts   posts
	timers  timers
	started time.Time
	clock   time.Time // when the present turn began
	now     Tick

	dropped func(*Conn[S]) // what the parts above give back of a connection
}

// limits are the durations of Config in ticks.
type limits struct{ handshake, write, close Tick }

func newCore[S any](cfg *Config, log *slog.Logger, m *metrics) (*core[S], error) {
	poller, err := epoll.New()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &core[S]{
		log: log, tracing: log.Enabled(context.Background(), slog.LevelDebug), m: m,
		limits:  limits{Ticks(cfg.HandshakeTimeout), Ticks(cfg.WriteTimeout), Ticks(cfg.CloseTimeout)},
		poller:  poller,
		started: now, clock: now, now: 1,
	}, nil
}

// Post has f called by the loop in one of its next turns. It never blocks and
// may be called from any goroutine. It reports false when f will not be called:
// the loop has ended, or maxPosts wait already.
func (k *core[S]) Post(f func()) bool { return k.put(f, maxPosts) }

// command is Post for what would not be repeated: there is room for it when too
// many posts wait.
func (k *core[S]) command(f func()) { k.put(f, maxPosts+maxCommands) }

func (k *core[S]) put(f func(), limit int) bool {
	first, ok := k.posts.put(f, limit)
	if first {
		k.poller.Wake()
	}
	if !ok {
		k.m.refusedPosts.Inc()
	}
	return ok
}

// Wake has the loop begin another turn soon. It may be called from any goroutine.
func (k *core[S]) Wake() { k.poller.Wake() }

// Now is the present tick.
func (k *core[S]) Now() Tick { return k.now }

// AfterFunc has f called by the loop after d, exact to about a millisecond and
// the length of a turn; timers of the same moment are called in the order in
// which they were made. With d of 0 or less f is called in the next turn. A loop
// that has ended calls nothing. Only the loop's goroutine may call AfterFunc. A
// loop without timers pays nothing for them.
func (k *core[S]) AfterFunc(d time.Duration, f func()) *Timer {
	at := time.Now().Add(d)
	if !at.After(k.clock) {
		at = k.clock.Add(1)
	}
	return k.timers.add(at, f)
}

// Len is how many connections there are, in whatever state.
func (k *core[S]) Len() int { return k.table.count }

// Places is the end of the places: At is asked for those below. A connection
// keeps its place as long as it lives.
func (k *core[S]) Places() int { return len(k.table.conns) }

// At returns the connection at a place; nil: there is none.
func (k *core[S]) At(place int) *Conn[S] { return k.table.conns[place] }

// SetDeadline has Expired be called at a tick; 0: never.
func (k *core[S]) SetDeadline(c *Conn[S], at Tick) {
	c.setDeadline(at)
	k.Arm(c)
}

// Arm notes when c must be looked at next, as Due says now. Being heard of does
// not move that: Check finds out that nothing was due after all.
func (k *core[S]) Arm(c *Conn[S]) {
	if c.state == stateGone {
		return
	}
	due := never
	if at := c.deadline(); at != 0 {
		due = at
	}
	if c.out != nil && !c.is(corked) {
		due = min(due, c.out.progress+k.limits.write)
	}
	if c.state == stateOpen {
		if at := k.h.Due(c); at != 0 {
			due = min(due, at)
		}
	}
	k.table.due[c.fd] = due
}

// newConn is a connection that begins now. Nobody knows it yet.
func (k *core[S]) newConn(fd int) *Conn[S] {
	return &Conn[S]{fd: int32(fd), state: stateOpen, heard: k.now}
}

// add takes c among the connections. It reports false, and has dropped c, when c
// cannot be polled.
func (k *core[S]) add(c *Conn[S]) bool {
	k.table.add(c)
	if c.is(detached) {
		return true
	}
	if err := k.poller.Add(int(c.fd), c.token(), epoll.ForRead); err != nil {
		k.log.Error("poll a connection", "err", err)
		k.Drop(c, drop.Lost)
		return false
	}
	return true
}

// Drop ends c at once. What waits is given up for why.
func (k *core[S]) Drop(c *Conn[S], why drop.Reason) {
	if c.state == stateGone {
		return
	}
	k.remove(c, why)
	if err := epoll.Close(int(c.fd)); err != nil {
		k.log.Error("close a connection", "err", err)
	}
}

// Release takes c out of the loop, and leaves it open: the descriptor is the
// caller's from now on. For the handler that is c's end, and Ended is called. It
// reports false, and does nothing, unless bytes go up and down plainly and none
// waits to be written.
func (k *core[S]) Release(c *Conn[S]) (fd int, ok bool) {
	if c.state != stateOpen || c.tls() != nil || c.out != nil {
		return -1, false
	}
	if err := k.poller.Remove(int(c.fd)); err != nil { // it would tell of a descriptor that lives on
		k.log.Error("stop polling a connection", "err", err)
		return -1, false
	}
	k.remove(c, drop.Closed)
	return int(c.fd), true
}

// remove forgets c, which is open still.
func (k *core[S]) remove(c *Conn[S], why drop.Reason) {
	c.state = stateGone
	if c.out != nil {
		k.discarded(why, c.out.abandon(c.out.head))
		k.m.waiting.Dec()
		c.out = nil
	}
	k.h.Ended(c, why)
	k.table.remove(c)
	k.dropped(c)
}

func (k *core[S]) discarded(why drop.Reason, lost Lost) {
	if lost.any() {
		k.h.Discarded(why, lost)
	}
}

// SetReading has what comes for c be read, as is the rule, or left where it is
// until this is called again. What TLS has of it already still comes, and so does
// what is left of a connection that is over in both directions.
func (k *core[S]) SetReading(c *Conn[S], on bool) {
	if c.state == stateGone || c.unread == !on {
		return
	}
	c.unread = !on
	k.poll(c)
}

// poll has the poller report what c is waited for.
func (k *core[S]) poll(c *Conn[S]) {
	var what epoll.Interest
	if !c.unread {
		what |= epoll.ForRead
	}
	if c.polling {
		what |= epoll.ForWrite
	}
	if err := k.poller.Modify(int(c.fd), c.token(), what); err != nil {
		k.log.Error("poll a connection", "err", err)
	}
}

// trace logs what became of a connection that the handler has not met yet, at
// the level debug. It costs next to nothing while that is not logged.
func (k *core[S]) trace(c *Conn[S], what string, args ...any) {
	if k.tracing {
		k.log.Debug(what, append([]any{"serial", c.generation, "address", c.Addr()}, args...)...) //nolint:sloglint // the callers give constants
	}
}
