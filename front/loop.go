package front

import (
	"errors"
	"slices"
	"time"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/hub"
)

const (
	readBufferSize = 64 << 10
	// tickLength is the grain of all deadlines of connections.
	tickLength = 100 * time.Millisecond
	// turnBudget is how many targets are written to before the loop looks at
	// its sockets again: about 10 ms of work.
	turnBudget = 1000
	// A turn serves at most so many sockets, accepts so many connections per
	// listener and takes so many posts: about 3 ms of handshakes, which is
	// how long a herd of them holds up a delivery.
	eventBudget  = 64
	acceptBudget = 16
	postBudget   = 64
	// scanBudget is how many connections one turn looks at whose time has come.
	scanBudget = 256
)

// loop is the state that only the goroutine of Run touches.
type loop struct {
	listeners  []*listener
	gate       gate
	muted      bool // the master wants no arrivals here
	pace       pace
	arrivals   *arrival.Table[*conn]
	turnedAway turnedAway
	handshakes handshakes
	table      table
	users      users
	replays    replays
	heard      heard
	now        uint32 // ticks since the worker started; the first is 1
	wakeAt     time.Time
	scanned    uint32 // the tick of the last scan that was finished
	scanAt     int    // where an unfinished scan goes on
	reported   int    // connections last told to Presence
	drain      drain
	parser     parser
	standing   standing
	dismissal  dismissal

	events     [eventBudget]epoll.Event
	buf        [readBufferSize]byte // what every socket is read into
	vector     [][]byte
	batch      []parcel  // envelopes taken from the inbox
	batchAt    int       // the next of them
	delivery   delivery  // what is being delivered
	closings   []closing // what is being disconnected
	frame      []byte    // the bytes of its message, used again by the next
	retained   bool      // an outbox holds them
	called     []func()  // posts being called
	callAt     int       // the next of them
	budget     int       // targets until the loop looks at its sockets again
	closesLeft int       // connections to disconnect until then
	wrote      int       // messages written in full and not counted yet
}

// open prepares the loop on listeners, which it closes when it fails.
func (w *Worker) open(listeners []Listener) (err error) {
	for i, ln := range listeners {
		w.listeners = append(w.listeners, &listener{Listener: ln, token: epoll.MakeToken(-2-i, 0)})
	}
	defer func() {
		if err != nil {
			w.closeListeners()
		}
	}()
	if slices.ContainsFunc(listeners, func(l Listener) bool { return l.TLS }) {
		if err = w.openTLS(); err != nil {
			return err
		}
	}
	if w.gate, err = newGate(w.cfg.MaxDescriptors, w.cfg.Pending); err != nil {
		return err
	}
	if w.poller, err = epoll.New(); err != nil {
		return err
	}
	w.pace = newPace(w.cfg.AdmitRate)
	w.arrivals = arrival.New[*conn](w.cfg.arrivalLimits(w.gate.pending))
	for _, ln := range w.listeners {
		if err = w.listen(ln); err != nil {
			return errors.Join(err, w.poller.Close())
		}
	}
	w.users = newUsers()
	w.replays = newReplays(w.cfg.ReplayBytes, w.deps.Inbox)
	w.heard = newHeard()
	w.now = 1
	w.vector = make([][]byte, 0, maxVector)
	return nil
}

// serve runs the loop until the worker has drained, or has sent everybody away.
func (w *Worker) serve() error {
	w.wakeAt = time.Now().Add(tickLength)
	for !w.stopped() {
		n, err := w.poller.Wait(w.events[:], w.wakeAt)
		if err != nil {
			return err
		}
		began := time.Now()
		w.attend(w.events[:n], began)
		w.deliverWaiting()
		w.m.written.Add(float64(w.wrote))
		w.wrote = 0
		w.m.turns.Observe(time.Since(began).Seconds())
	}
	return nil
}

// attend does everything but deliver: it advances the clock, reads, writes and
// accepts what is ready, takes what was posted, and looks at what is due.
func (w *Worker) attend(ready []epoll.Event, now time.Time) {
	w.now = 1 + uint32(now.Sub(w.started)/tickLength)
	if !w.wakeAt.After(now) {
		w.wakeAt = now.Add(tickLength)
	}
	w.mayDeliver() // first: a worker that is lost writes nothing more that waited
	if w.standing.seen == hub.StandingLost {
		w.dismissTurn()
	} else if w.draining.Load() {
		w.drainTurn()
	}
	for i := range ready {
		w.handle(&ready[i])
	}
	w.callPosted()
	w.scan()
}

func (w *Worker) handle(ev *epoll.Event) {
	if id := ev.Token.FD(); id < 0 {
		w.accept(w.listeners[-2-id], ev)
		return
	}
	c := w.table.get(ev.Token)
	if c == nil {
		return
	}
	if ev.Readable || ev.Hangup {
		w.read(c)
	}
	if ev.Writable && c.state != stateGone {
		w.flush(c)
	}
}

// callPosted calls what other goroutines have posted: a limited number, and
// the rest in the next turn.
func (w *Worker) callPosted() {
	if w.callAt == len(w.called) {
		w.called, w.callAt = w.posts.take(w.called), 0
	}
	for budget := postBudget; w.callAt < len(w.called); budget-- {
		if budget == 0 {
			w.poller.Wake()
			return
		}
		f := w.called[w.callAt]
		w.called[w.callAt] = nil
		w.callAt++
		f()
	}
}

// scan looks at the connections that something is due for, once per tick. It
// does a limited number and goes on in the next turn.
func (w *Worker) scan() {
	if w.scanned == w.now {
		return
	}
	if w.scanAt == 0 {
		w.everyTick()
	}
	budget := scanBudget
	for ; w.scanAt < len(w.table.due); w.scanAt++ {
		if w.table.due[w.scanAt] > w.now {
			continue
		}
		if budget--; budget < 0 {
			w.poller.Wake()
			return
		}
		w.check(w.table.conns[w.scanAt])
	}
	w.scanAt, w.scanned = 0, w.now
}

func (w *Worker) everyTick() {
	w.m.connections.Set(float64(w.table.count))
	w.m.users.Set(float64(len(w.users.newest)))
	if n := w.table.count; n != w.reported {
		w.reported = n
		w.deps.Presence.SetConnections(n)
	}
	w.tendListeners()
	w.pace.refill()
	w.beginHandshakes()
	w.m.tls.running.Set(float64(w.handshakes.running.Len()))
	w.m.tls.waiting.Set(float64(w.handshakes.queue.Len()))
	w.arrivals.Forget(w.now, scanBudget)
	w.m.pending.Set(float64(w.arrivals.Pending()))
	w.m.addresses.Set(float64(w.arrivals.Addresses()))
	w.tendReplays()
	w.users.absent.age(w.now, &w.perUser, scanBudget)
	w.m.heardEvicted.Add(float64(w.heard.age(w.now)))
	w.m.heard.Set(float64(w.heard.size()))
}

// shut ends whatever the loop still holds, after its last turn.
func (w *Worker) shut() {
	for _, f := range append(w.called[w.callAt:], w.posts.close()...) {
		f()
	}
	for _, c := range w.table.conns {
		if c != nil {
			w.drop(c, dropClosed)
		}
	}
	w.closeListeners()
	w.deps.Presence.SetConnections(0)
}
