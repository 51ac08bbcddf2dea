package match

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/homing/homing/hub"
)

// Timing is how often things happen. Only tests choose another than DefaultTiming.
type Timing struct {
	Round time.Duration // between two looks at a queue in which somebody waits
	Idle  time.Duration // between two looks at a queue in which nobody does, at most
	Lease time.Duration // how long a process that says nothing has a queue
	Claim time.Duration // how long a claim stands
	Open  time.Duration // how long a room may take to open
	Tell  time.Duration // how long the players of a match may take to be told once its room is recorded
}

// DefaultTiming is the timing of every server. Opening a room and recording it take
// less than the claim stands.
func DefaultTiming() Timing {
	return Timing{
		Round: 250 * time.Millisecond, Idle: time.Second, Lease: 2 * time.Second,
		Claim: 15 * time.Second, Open: 5 * time.Second, Tell: 3 * time.Second,
	}
}

// told is after how long somebody else tells the players of a match whose room is
// recorded, if it was not finished: soon, for their seats are reserved for a while only.
func (t *Timing) told() time.Duration { return t.Tell * 3 / 2 }

const (
	//bound:match-deliveries

	// batch is how many matches are claimed, and then delivered, together.
	batch = 32
	// deliveries is how many batches of one queue are delivered at a time. Beyond
	// that nobody is claimed.
	deliveries = 16
	// atOnce is how many matches of a batch are opened or announced at a time: all
	// batches together leave connections to Redis for others of the process.
	atOnce = 8
	// tended is how many tickets that are due one call of a script looks after, and
	// sweeps how many calls there are in a round.
	tended = 500
	sweeps = 16
	// aside is how many claims that Redis did not confirm are given up by their
	// matcher; more lapse by themselves.
	aside = 1024
)

// Matcher makes the matches of queues. Of all matchers of a queue one works at a
// time, as the lease in Redis says; when two should, no ticket is used twice all the
// same, because claims are all or none.
type Matcher struct {
	tickets  *Tickets
	rooms    Rooms
	function Function
	self     hub.ProcessID
	timing   Timing
	log      *slog.Logger
	trouble  rate.Sometimes
}

// NewMatcher returns a matcher of all queues of t. A nil function is Nearest.
func NewMatcher(t *Tickets, rooms Rooms, function Function, timing Timing, log *slog.Logger) *Matcher {
	if function == nil {
		function = Nearest{}
	}
	return &Matcher{
		tickets: t, rooms: rooms, function: function, self: hub.NewProcessID(), timing: timing, log: log,
		trouble: rate.Sometimes{First: 5, Interval: time.Second},
	}
}

// Run makes matches until ctx ends. Then it finishes those that it has begun, gives
// up its leases, and returns nil.
func (m *Matcher) Run(ctx context.Context) error {
	var queues sync.WaitGroup
	for _, l := range m.tickets.order {
		queues.Go(func() { m.desk(l).run(ctx) })
	}
	queues.Wait()
	return nil
}

// desk is a matcher at one queue. Its fields are owned by the goroutine of run.
type desk struct {
	*line
	*Matcher

	known  map[string]*Ticket // of those who waited when it looked last
	turn   int                // where the last look at a long queue ended
	doubts []string           // matches that may have been claimed
	slots  chan struct{}      // holds one for each batch that is being delivered
	work   sync.WaitGroup
}

func (m *Matcher) desk(l *line) *desk {
	return &desk{line: l, Matcher: m, known: make(map[string]*Ticket), slots: make(chan struct{}, deliveries)}
}

func (b *desk) run(ctx context.Context) {
	defer b.leave(ctx)
	idle := b.timing.Round
	for {
		pause := b.timing.Round
		switch b.look(ctx) {
		case busy:
			idle = pause
		case quiet:
			idle = min(2*idle, b.timing.Idle)
			pause = idle
		case absent:
			pause = b.timing.Lease / 4
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// outcome is what a look at a queue found.
type outcome uint8

const (
	busy   outcome = iota // somebody waits, or it failed
	quiet                 // nobody waits
	absent                // another process works here
)

// look is one look at the queue.
func (b *desk) look(ctx context.Context) outcome {
	fence, err := b.lease(ctx, b.timing.Lease)
	if err != nil {
		b.failed("lease", err)
		return busy
	}
	metrics := &b.tickets.tell.metrics
	if fence == 0 {
		metrics.silent(b.Name)
		clear(b.known)
		return absent
	}
	metrics.leads.WithLabelValues(b.Name).Set(1)
	started := time.Now()
	stop := b.hold(ctx)
	n, err := b.round(ctx, fence)
	stop()
	metrics.round.WithLabelValues(b.Name).Observe(time.Since(started).Seconds())
	if err != nil {
		b.failed("round", err)
		return busy
	}
	if n == 0 {
		return quiet
	}
	return busy
}

// hold renews the lease until stop is called: a match function may take long. Who
// loses the lease meanwhile finds out as it claims.
func (b *desk) hold(ctx context.Context) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		every := time.NewTicker(b.timing.Lease / 4)
		defer every.Stop()
		for {
			select {
			case <-done:
				return
			case <-every.C:
			}
			if _, err := b.lease(ctx, b.timing.Lease); err != nil {
				b.failed("lease", err)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// lease takes or renews the lease of the queue and returns its fence, 0 when another
// process has it. With lasts 0 it gives it up.
func (b *desk) lease(ctx context.Context, lasts time.Duration) (fence int64, err error) {
	reply, err := b.shelf.run(ctx, leaseScript, string(b.self), lasts.Milliseconds())
	if err != nil {
		return 0, fmt.Errorf("lease of queue %s: %w", b.Name, err)
	}
	fence, _ = reply.(int64)
	return fence, nil
}

// leave waits for what was begun, and lets another process go on.
func (b *desk) leave(ctx context.Context) {
	b.work.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := b.lease(ctx, 0); err != nil {
		b.failed("lease", err)
	}
	b.tickets.tell.metrics.silent(b.Name)
}

// failed counts and logs what did not work; it is tried again.
func (b *desk) failed(what string, err error) {
	b.tickets.tell.metrics.failures.WithLabelValues(b.Name, what).Inc()
	b.trouble.Do(func() { b.log.Warn("matchmaking", "queue", b.Name, "at", what, "err", err) })
}

// back counts tickets that wait again.
func (b *desk) back(why string, n int64) {
	if n > 0 {
		b.tickets.tell.metrics.back.WithLabelValues(b.Name, why).Add(float64(n))
	}
}
