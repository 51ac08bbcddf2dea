package drill

import (
	"cmp"
	"slices"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/stack"
)

// audit is how the books of a drill are settled, beside what is promised
// always. Scenarios add to it what their fault allows.
type audit struct {
	*journal

	gap     time.Duration // how long a way may deliver nothing; 0: gapLimit
	loadEnd time.Time

	// owed says what the system owes to users whose connections ended; see
	// ledger.Rules. nil: nothing.
	owed func(holder int, closed time.Time) time.Time

	taken    time.Time // see ledger.Rules
	dead     int       // a worker that was killed; 0: none
	died     time.Time // when
	disowned []disowning
	excused  []ledger.Span
	gaveUp   []ledger.Span
	forgets  bool
}

// disowning is a time in which the system let go of what it could not reach.
type disowning struct {
	from, until time.Time
	holders     []int // workers; none: all
}

// sendsAway says that a fault at the time given put workers, or with none all
// of them, out of the system's reach: their connections that end within a while
// after it, with 1012 or without a close frame, were held until the fault only.
// What was accepted in between is owed to the next connection, or was told to be
// offline, or was stored and is found there.
func (a *audit) sendsAway(fault time.Time, within time.Duration, workers ...int) {
	a.disowned = append(a.disowned, disowning{from: fault, until: fault.Add(within), holders: workers})
}

// excuse says that losses which are told are documented for a span of time; a
// zero end is none.
func (a *audit) excuse(from, to time.Time, why string) {
	a.excused = append(a.excused, ledger.Span{From: from, To: to, Why: why})
}

// excusePartly is excuse for losses that only some connections of a user may
// have had.
func (a *audit) excusePartly(from, to time.Time, why string) {
	a.excused = append(a.excused, ledger.Span{From: from, To: to, Why: why, Partly: true})
}

// givesUp says that nothing was carried for a span of time, longer than the
// system keeps it: what is lost then is given up, and counted.
func (a *audit) givesUp(from, to time.Time) {
	a.gaveUp = append(a.gaveUp, ledger.Span{From: from, To: to, Why: "nothing is carried"})
}

// sentAway is ledger.Rules.SentAway: the last fault that the connection lived
// to see.
func (a *audit) sentAway(e ledger.Ending) (since time.Time) {
	for _, d := range a.disowned {
		sent := e.Code == comeBack || e.Code == 0 || e.Told
		theirs := len(d.holders) == 0 || e.Holder == 0 || e.Roams || slices.Contains(d.holders, e.Holder)
		if sent && theirs && e.Opened.Before(d.from) && e.At.After(d.from) && e.At.Before(d.until) && d.from.After(since) {
			since = d.from
		}
	}
	return since
}

// dies says that a worker is killed at a moment. From then on nothing is due on its
// connections, whenever their clients notice; what is accepted while it counts as alive is
// owed to those that come back.
func (a *audit) dies(worker int, at time.Time) {
	a.dead, a.died = worker, at
	a.owed = func(holder int, _ time.Time) time.Time {
		if holder != worker {
			return time.Time{}
		}
		return at.Add(leaseAtLeast)
	}
}

// diedAt is when the worker of a connection was killed that ended after that; zero: it was
// not.
func (a *audit) diedAt(e ledger.Ending) time.Time {
	if a.dead == 0 || e.Holder != a.dead || e.At.Before(a.died) {
		return time.Time{}
	}
	return a.died
}

// stayed is how long after an answer a connection must have lasted for the
// notification to have been due on it.
const stayed = 2 * time.Second

// noticedEnd is how late a client may notice that its connection has ended, on a machine
// that runs clients and servers.
const noticedEnd = 500 * time.Millisecond

// rules are what is promised.
func (a *audit) rules() ledger.Rules {
	return ledger.Rules{
		Stayed:   stayed,
		Patience: a.longestGap() + time.Second,
		End:      a.loadEnd,
		Owed:     a.owed,
		Died:     a.diedAt,
		Noticed:  noticedEnd + a.stalls.longest(),
		Taken:    a.taken,
		Window:   returnWindow,
		SentAway: a.sentAway,
		Excused:  a.excused,
		GivesUp:  a.gaveUp,
		Forgets:  a.forgets,
	}
}

// longestGap is how long a way may deliver nothing.
func (a *audit) longestGap() time.Duration { return cmp.Or(a.gap, gapLimit) + a.stalls.longest() }

// movesAll says that what was accepted for users of the workers of the moment
// until their connections ended is owed to them at the next worker.
func (a *audit) movesAll(front *stack.Front) error {
	old, err := front.Workers()
	if err != nil {
		return err
	}
	before := a.owed
	a.owed = func(holder int, closed time.Time) time.Time {
		switch {
		case slices.Contains(old, holder):
			return closed.Add(-noticed - a.stalls.longest())
		case before != nil:
			return before(holder, closed)
		default:
			return time.Time{}
		}
	}
	return nil
}
