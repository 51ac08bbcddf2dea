package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub/drop"
)

const (
	// A turn serves at most so many sockets and takes so many posts.
	eventBudget = 64
	postBudget  = 64
	// scanBudget is how many connections one turn looks at whose time has come.
	scanBudget = 256
)

// To wake up for a message costs more than to read it. So where turns begin less
// than busy after each other, and have little to do, one begins no sooner than gap
// after the one before: it serves what has arrived meanwhile.
const (
	busy = 2 * time.Millisecond
	gap  = 500 * time.Microsecond
)

// Loop is one event loop over the connections of one goroutine, that of Run.
// Methods whose comment does not allow any goroutine are for the handler: only
// the loop's goroutine may call them, and before Run nobody.
type Loop[S any] struct {
	*listeners[S]
	*arrivals[S]
	*handshakes[S]
	*writer[S]
	*core[S]

	reader *reader[S]
	events [eventBudget]epoll.Event
	ready  int           // how many of them there were in the last turn
	wakeAt time.Time     // when the next tick begins
	late   time.Duration // see Late
	before time.Time     // when the turn before the last one began

	// The scan for what is due.
	scanned Tick // the tick of the last scan that was finished
	scanAt  int  // where an unfinished scan goes on
}

// New prepares a loop on listeners, which it owns from now on, also when it
// fails. handshakes counts connections by what became of their handshake; the
// loop counts those whose TLS handshake failed, as "tls", and those whose PROXY
// header did not come, as "handshake_timeout".
func New[S any](cfg Config, given []Listener, log *slog.Logger, reg prometheus.Registerer, handshakes *prometheus.CounterVec) (*Loop[S], error) {
	l, err := assemble[S](&cfg, given, log, reg, handshakes)
	if err != nil {
		for _, ln := range given {
			_ = epoll.Close(ln.FD)
		}
		return nil, err
	}
	return l, nil
}

func assemble[S any](cfg *Config, given []Listener, log *slog.Logger, reg prometheus.Registerer, results *prometheus.CounterVec) (*Loop[S], error) {
	limit, err := newDescriptorLimit(cfg.MaxDescriptors, cfg.Arrivals.Pending)
	if err != nil {
		return nil, err
	}
	k, err := newCore[S](cfg, log, newMetrics(reg, results))
	if err != nil {
		return nil, err
	}
	l := &Loop[S]{core: k, writer: newWriter(k, cfg)}
	if err = l.furnish(cfg, given, reg, limit); err != nil {
		return nil, errors.Join(err, k.poller.Close())
	}
	return l, nil
}

// furnish makes the parts of l above its writer, each on those before it.
func (l *Loop[S]) furnish(cfg *Config, given []Listener, reg prometheus.Registerer, limit descriptorLimit) (err error) {
	if l.handshakes, err = newHandshakes(l.writer, cfg, given, reg); err != nil {
		return err
	}
	l.reader = &reader[S]{writer: l.writer, handshakes: l.handshakes}
	l.handshakes.opened = l.reader.opened
	if l.arrivals, err = newArrivals(l.core, l.handshakes, &cfg.Arrivals, limit.pending); err != nil {
		return err
	}
	l.core.dropped = l.arrivals.leave
	l.listeners, err = newListeners(l.arrivals, cfg, given, limit)
	return err
}

// Adopt hands over an accepted, non-blocking connection, as if it had come to a
// listener; one that the loop cannot take is closed. It never blocks and may be
// called from any goroutine.
func (l *Loop[S]) Adopt(fd int, overTLS bool) {
	from, _ := epoll.PeerAddr(fd) // of a peer that has gone: it shows when the connection is read
	if !l.Post(func() { l.welcome(fd, from.Addr(), overTLS) }) {
		_ = epoll.Close(fd)
	}
}

// AdoptPassed hands over a non-blocking connection that another loop has
// released: head is what that one had read of it, and from whose it is. It has
// had its PROXY header, and its TLS, if any, ends elsewhere; but for that it
// comes as to a listener, and head as if it had just arrived. state is what its
// State begins with. It reports false when the loop takes no more posts; then,
// too, the descriptor is closed. It never blocks and may be called from any
// goroutine.
func (l *Loop[S]) AdoptPassed(fd int, head []byte, from netip.Addr, state S) bool {
	ok := l.Post(func() {
		c := l.newConn(fd)
		c.State = state
		if l.arrive(c, from) && len(head) > 0 {
			l.reader.arrived(c, head)
		}
		l.Arm(c)
	})
	if !ok {
		_ = epoll.Close(fd)
	}
	return ok
}

// Run serves until h.Stopped, or until the poller fails, and closes the loop. It
// may be called once.
func (l *Loop[S]) Run(h Handler[S]) error {
	ctx, cancel := context.WithCancel(context.Background())
	l.watch(ctx, l.certificateRead)
	l.core.h = h
	l.wakeAt = time.Now().Add(TickLength)
	var err error
	for err == nil && !h.Stopped() {
		err = l.step(l.timers.next(l.wakeAt))
		l.gather()
	}
	cancel()
	return errors.Join(err, l.Close())
}

// Step runs one turn with what is ready, and does not wait for anything. It is
// for whoever drives a loop without Run, as tests and measurements do, and then
// closes it.
func (l *Loop[S]) Step(h Handler[S]) error {
	l.core.h = h
	l.poller.Wake()
	return l.step(l.wakeAt)
}

// gather waits for more to arrive where that is worth it.
func (l *Loop[S]) gather() {
	if l.clock.Sub(l.before) < busy && l.ready < eventBudget && !l.poller.Woken() {
		time.Sleep(gap - time.Since(l.clock))
	}
}

// step waits until something is ready, at most until a moment, and runs a turn.
func (l *Loop[S]) step(until time.Time) error {
	n, err := l.poller.Wait(l.events[:], until)
	if err != nil {
		return fmt.Errorf("event loop: %w", err)
	}
	l.before, l.ready = l.clock, n
	l.turn(l.events[:n], time.Now())
	l.m.turns.Observe(time.Since(l.clock).Seconds())
	return nil
}

// Late is how much later than it should the present tick began: what came before it
// took so long, or nobody gave the process a CPU.
func (l *Loop[S]) Late() time.Duration { return l.late }

// Close calls what was posted, drops every connection, closes the listeners and
// waits for what the loop has started. Run does it.
func (l *Loop[S]) Close() error {
	l.posts.close()
	for _, c := range l.table.conns {
		if c != nil {
			l.Drop(c, drop.Closed)
		}
	}
	l.listeners.close()
	l.handshakes.helpers.Wait()
	if err := l.poller.Close(); err != nil {
		return fmt.Errorf("event loop: %w", err)
	}
	return nil
}

// turn does what has become ready or due.
func (l *Loop[S]) turn(ready []epoll.Event, now time.Time) {
	l.clock = now
	l.now = 1 + Tick(now.Sub(l.started)/TickLength)
	if !l.wakeAt.After(now) {
		l.late = now.Sub(l.wakeAt)
		l.wakeAt = now.Add(TickLength)
	}
	l.h.BeginTurn()
	for i := range ready {
		l.handle(&ready[i])
	}
	if !l.posts.call(postBudget) {
		l.poller.Wake()
	}
	l.timers.call(now)
	l.scan()
	l.h.EndTurn()
	l.m.written.Add(float64(l.wrote))
	l.wrote = 0
}

func (l *Loop[S]) handle(ev *epoll.Event) {
	if id := ev.Token.FD(); id < 0 {
		l.accept(l.all[-2-id], ev)
		return
	}
	c := l.table.get(ev.Token)
	if c == nil {
		return
	}
	if ev.Readable || ev.Hangup {
		l.read(c)
	}
	if ev.Writable && c.state != stateGone {
		l.flush(c)
	}
}

func (l *Loop[S]) read(c *Conn[S]) {
	if c.state != stateProxy {
		l.reader.read(c)
		return
	}
	if err := l.readHeader(c); err != nil {
		l.reader.hungUp(c, err)
	}
}

// scan looks at the connections that something is due for, once per tick. It
// does a limited number and goes on in the next turn.
func (l *Loop[S]) scan() {
	if l.scanned == l.now {
		return
	}
	if l.scanAt == 0 {
		l.tick()
	}
	budget := scanBudget
	for ; l.scanAt < len(l.table.due); l.scanAt++ {
		if l.table.due[l.scanAt] > l.now {
			continue
		}
		if budget--; budget < 0 {
			l.poller.Wake()
			return
		}
		l.check(l.table.conns[l.scanAt])
	}
	l.scanAt, l.scanned = 0, l.now
}

func (l *Loop[S]) tick() {
	l.m.connections.Set(float64(l.table.count))
	l.h.Tick()
	l.listeners.tick()
	l.handshakes.tick()
	l.arrivals.tick()
}

// check does what is due for c.
func (l *Loop[S]) check(c *Conn[S]) {
	switch at := c.deadline(); {
	case c.out != nil && !c.is(corked) && l.now >= c.out.progress+l.limits.write:
		l.m.stalled.Inc()
		l.Drop(c, drop.WriteTimeout)
	case at != 0 && l.now >= at:
		l.expire(c)
	case c.state == stateOpen:
		l.h.Check(c)
	}
	l.Arm(c)
}

// expire ends the time that c had.
func (l *Loop[S]) expire(c *Conn[S]) {
	switch {
	case c.state >= stateEnding:
		l.Drop(c, drop.Closed)
	case c.state == stateProxy:
		l.m.handshakes.WithLabelValues("handshake_timeout").Inc()
		l.trace(c, "no PROXY header in time")
		l.Drop(c, drop.Closed)
	case c.Handshaking():
		l.fail(c, tlsTimeout, errTLSTimeout) // it could not read a reply
	default:
		c.setDeadline(0)
		l.h.Expired(c)
	}
}
