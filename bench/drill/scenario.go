package drill

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/stack"
)

const (
	apis, workers = 2, 4
	shards        = 2
	replicas      = 2
	senderCount   = 32

	warmUp         = 3 * time.Second
	connectTimeout = 60 * time.Second
	settleTimeout  = 10 * time.Second
	// quietFor is longer than the pauses of a hand-over (hub/notify), at most 2 s.
	quietFor     = 3 * time.Second
	checkTimeout = 45 * time.Second

	// gapLimit is how long a way from an API server to a worker may deliver
	// nothing, whatever breaks, beside what the machine itself stood still.
	gapLimit = time.Second
	// returnWindow is how soon users must be back to get what they missed. The
	// system waits a little longer for them.
	returnWindow = 25 * time.Second
)

// drill is a scenario under way.
type drill struct {
	scenario
	*journal

	opts     Options
	stack    *stack.Stack
	entrance *entrance
	holders  *holders
	book     ledger.Book
	fleet    *fleet
	senders  *senders
	net      *network // of a scenario that runs apart

	// Who judges what was delivered, and what calls were answered.
	audit *audit
	judge judge

	// Who looks at the servers and the fleet; see attach.
	books      *books
	index      *index
	readiness  *readiness
	attendance *attendance

	// Who acts on them, beside the fleet and the senders; see attach.
	backend   *backend
	newcomers *newcomers
	operator  *operator
	pool      *workerPool
}

func newDrill(s scenario, opts Options, stderr io.Writer) *drill {
	j := newJournal(s.name, stderr)
	return &drill{scenario: s, journal: j, opts: opts, audit: &audit{journal: j, gap: s.gap}, judge: judge{j}}
}

// play runs one scenario from nothing to nothing.
func play(ctx context.Context, s scenario, opts Options, stderr io.Writer) (*Result, error) {
	d := newDrill(s, opts, stderr)
	o := stack.Options{
		Binary: opts.Binary, APIs: apis, Workers: workers, Shards: shards, Replicas: replicas,
		AtMostOnce: opts.AtMostOnce, FrontArgs: s.front, LogDir: opts.LogDir,
	}
	if s.setup != nil {
		s.setup(&o)
	}
	var err error
	if s.apart != nil {
		if !insideApart() {
			return (&apart{d.journal, s.name, opts}).play(ctx)
		}
		if d.net, err = newNetwork(ctx, d.journal, s.apart); err != nil {
			return d.skip(err), nil
		}
		defer d.net.close()
		d.net.place(&o)
	}
	var backends *hooked
	var friends *befriended
	if s.mates != nil {
		if friends, err = d.prepareMates(&o); err != nil {
			return nil, err
		}
		defer friends.ears.close()
	}
	if s.hooks != nil {
		if backends, err = d.prepareHooks(&o); err != nil {
			return nil, err
		}
		defer backends.close()
	}
	d.say("%s: starting Redis with %d pub/sub shards, %d API and %d front worker processes", s.about, shards, o.APIs, workers)
	d.stack, err = stack.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	d.entrance, d.holders = newEntrance(d.stack, opts.Clients == mixedClients), newHolders(d.stack)
	defer d.entrance.bridges.Close()
	if s.polled {
		d.entrance.polling()
	}
	err = d.act(ctx, backends, friends)
	keep := err != nil || d.result.Promise == Broken
	if keep {
		d.say("logs are kept in %s", d.stack.LogDir())
	}
	d.say("stopping")
	return &d.result, errors.Join(err, d.stack.Stop(keep))
}

// act plays the scenario on a stack that is ready: that of a game, of a queue, of topics,
// of backends that take events, of friends, or of notifications.
func (d *drill) act(ctx context.Context, backends *hooked, friends *befriended) error {
	switch {
	case d.game != nil:
		return d.runGame(ctx)
	case d.queue != nil:
		return d.runQueue(ctx)
	case d.speaking != nil:
		return d.runTalks(ctx)
	case backends != nil:
		return backends.run(ctx)
	case friends != nil:
		return friends.run(ctx)
	}
	return d.run(ctx)
}

// run is the scenario on a stack that is ready, of notifications.
func (d *drill) run(ctx context.Context) error {
	clients, hangUp := context.WithCancel(ctx)
	defer hangUp()
	d.fleet = newFleet(&d.book, d.entrance, d.opts.Conns)
	d.attach()
	defer d.backend.close()
	d.result.Connections = len(d.fleet.devices)
	d.fleet.start(clients)
	defer d.fleet.wait()
	defer hangUp()
	if err := d.gather(ctx); err != nil {
		return err
	}
	if err := d.load(ctx); err != nil {
		return err
	}
	if d.check != nil {
		checking, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		if err := d.check(checking, d); err != nil {
			return err
		}
	}
	d.books.close(ctx)
	hangUp()
	d.fleet.wait()
	d.account()
	return nil
}

// attach makes the owners that need a running stack and a fleet.
func (d *drill) attach() {
	d.backend = newBackend(d.stack.Access.Key(), d.stack.API.URLs())
	d.readiness = &readiness{d.journal, d.backend}
	d.attendance = &attendance{d.journal, d.fleet}
	d.operator = &operator{d.journal, d.stack.Redis}
	d.pool = &workerPool{d.journal, d.stack.Front, d.fleet, d.holders}
	d.newcomers = &newcomers{journal: d.journal, at: d.entrance.forNewcomers()}
	d.books = &books{journal: d.journal, api: d.stack.API, fronts: d.stack.Fronts, fleet: d.fleet}
	d.index = &index{d.journal, d.stack.Redis, d.stack.Config, d.stack.Keys(), d.fleet}
}

// gather waits until everybody is connected and known by its worker.
func (d *drill) gather(ctx context.Context) error {
	d.say("connecting %d clients of %d users", len(d.fleet.devices), len(d.fleet.users()))
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := d.fleet.waitOpen(ctx, len(d.fleet.devices)); err != nil {
		return err
	}
	return d.pool.locate(ctx)
}

// load runs the senders, and the fault in the midst of them.
func (d *drill) load(ctx context.Context) error {
	d.senders = newSenders(&d.book, d.fleet.users(), d.stack.API.URLs(), d.stack.Access.Key(), d.opts.Rate, senderCount)
	d.senders.named, d.senders.guests = d.named, d.fleet.guests.users()
	d.books.open(ctx)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	d.senders.start(sending)
	var watching sync.WaitGroup
	watching.Go(func() { d.watch(sending) })
	watching.Go(func() { d.stalls.run(sending) })
	err := d.breakThings(ctx)
	stop()
	d.senders.wait()
	watching.Wait()
	d.audit.loadEnd = time.Now()
	if err != nil {
		return err
	}
	d.say("calling back the players who come and go")
	if err := d.fleet.callBack(ctx); err != nil {
		d.result.breaks("%v", err)
	}
	return d.drain(ctx)
}

// breakThings makes the fault after a while of load, and lets the load go on
// for a while after it.
func (d *drill) breakThings(ctx context.Context) error {
	if err := pause(ctx, warmUp); err != nil {
		return err
	}
	end := time.Now().Add(d.opts.After)
	if d.fault != nil {
		if err := d.fault(ctx, d); err != nil {
			return err
		}
	}
	if err := pause(ctx, time.Until(end)); err != nil {
		return err
	}
	return d.stack.Alive()
}

// watch prints a line a second, and finds the workers of new connections.
func (d *drill) watch(ctx context.Context) {
	var before int64
	for pause(ctx, time.Second) == nil {
		now := d.fleet.received.Load()
		d.say("  %d connected, %d deliveries/s, %d notifications accepted, %d not", d.fleet.open.Load(), now-before,
			d.senders.accepted.Load(), d.senders.refused.Load())
		before = now
		if err := d.pool.locate(ctx); err != nil {
			d.say("  %v", err)
		}
	}
}

// drain waits until nothing has arrived for longer than the servers wait at most
// before they look again for a player whom a message has missed.
func (d *drill) drain(ctx context.Context) error {
	deadline := time.Now().Add(settleTimeout)
	heard, since := d.fleet.received.Load(), time.Now()
	for time.Now().Before(deadline) && time.Since(since) < quietFor {
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if now := d.fleet.received.Load(); now != heard {
			heard, since = now, time.Now()
		}
	}
	return nil
}

// account settles the books; all clients and senders have stopped.
func (d *drill) account() {
	d.result.FailedConnects += int(d.fleet.failed.Load())
	d.result.HarnessStallMS = d.stalls.longest().Milliseconds()
	d.result.ComeAndGo, d.result.IDRefusedMS = d.fleet.guests.tell(), d.senders.longestRefused().Milliseconds()
	if n := d.senders.refused.Load(); n > 0 {
		d.say("%d notifications were not accepted, the last because: %v", n, d.senders.lastErr)
	}
	entry := d.book.Settle(d.audit.rules())
	if limit := d.audit.longestGap(); entry.LongestGap > limit {
		d.result.breaks("delivery stood still for %v, want less than %v", entry.LongestGap.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
	if len(d.audit.gaveUp) > 0 {
		d.books.checkGivenUp(entry)
	}
	for _, e := range entry.Examples {
		d.say("  %s", e)
	}
	d.result.settle(entry, d.faultAt)
	d.say("%d of %d deliveries written: promise %s", d.result.Written, d.result.Accepted, d.result.Promise)
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
