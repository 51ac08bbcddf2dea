package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
)

// queueing is a scenario in which players ask for matches, on connections of their
// own.
type queueing struct {
	perSecond float64 // players
	lasts     time.Duration
	fault     func(ctx context.Context, m *matching) error
}

// matching is such a scenario under way.
type matching struct {
	*drill

	seekers []*seeker
}

const (
	drillQueue = "duel"
	// duelQueues have everybody accept everybody after a while, so that nobody is left.
	duelQueues = "queues:\n  - name: " + drillQueue + "\n    class: " + drillQueue + "\n    teams: 2\n    team_size: 1\n    by_players: true\n" +
		"    steps:\n      - {window: 200}\n      - {after: 3s}\n"
	duelClasses = "classes:\n  - {name: " + drillQueue + ", seats: 2, hz: 10, reserve: 15s, idle: 5s}\n"

	// matcherStall is longer than the lease of who makes a queue's matches.
	matcherStall = 5 * time.Second
	leaderWithin = 10 * time.Second
	// matchGap is how long a player may wait: those whose match dies with its matcher
	// wait for 15 s more.
	matchGap = 25 * time.Second
	// seatedWithin is how soon after the load everybody must be in a room.
	seatedWithin = matchGap + 10*time.Second
	// quietMatches is how long is listened for what is one too many: longer than a
	// match is announced again after.
	quietMatches = 6 * time.Second
)

func matchScenarios() []scenario {
	return []scenario{{
		name: "match-node-kill", about: "the API server that makes the matches is killed (SIGKILL), and its successor stands still for 5 s (SIGSTOP) and goes on",
		setup: withMatches,
		queue: &queueing{perSecond: 200, lasts: 15 * time.Second, fault: killMatcher},
	}}
}

// withMatches starts three servers that make matches, and has the front run their
// rooms.
func withMatches(o *stack.Options) {
	o.APIs, o.Rooms = 3, true
	queues, classes := drillFile("queues.yaml", duelQueues), drillFile("classes.yaml", duelClasses)
	o.APIArgs = append(o.APIArgs, "--match-queues", queues)
	o.FrontArgs = append(o.FrontArgs, "--match-queues", queues, "--room-classes", classes)
}

// drillFile writes a file for servers to read. Where that fails they say that it is
// not there.
func drillFile(name, text string) (file string) {
	dir, err := os.MkdirTemp("", "homing-drill-")
	if err != nil {
		return name
	}
	file = filepath.Join(dir, name)
	_ = os.WriteFile(file, []byte(text), 0o600)
	return file
}

// runQueue is the scenario on a stack that is ready.
func (d *drill) runQueue(ctx context.Context) error {
	m := &matching{drill: d}
	if err := m.warm(ctx); err != nil {
		return err
	}
	playing, hangUp := context.WithCancel(ctx)
	defer hangUp()
	var all, beside sync.WaitGroup
	var faultErr error
	beside.Go(func() { d.stalls.run(playing) })
	beside.Go(func() { faultErr = d.queue.fault(playing, m) })
	d.say("%.0f players a second connect and ask for a match, for %v", d.queue.perSecond, d.queue.lasts)
	load.Schedule{Rate: d.queue.perSecond, Duration: d.queue.lasts, Callers: 1}.Run(playing, func(n int, _ time.Time) func(context.Context) {
		s := newSeeker(n)
		m.seekers = append(m.seekers, s)
		return func(ctx context.Context) { all.Go(func() { s.run(ctx, d.entrance) }) }
	})
	m.waitSeated(ctx)
	err := pause(ctx, quietMatches)
	books, booksErr := m.books(ctx)
	hangUp()
	all.Wait()
	beside.Wait()
	if err = errors.Join(err, booksErr, faultErr); err != nil {
		return err
	}
	m.account(books)
	return d.stack.Alive()
}

// warm waits until rooms can be opened.
func (m *matching) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for _, base := range m.stack.API.URLs() {
		b := players.Backend{URL: base, Key: m.stack.Access.Key()}
		for {
			_, err := b.Open(ctx, drillQueue, []string{})
			if err == nil {
				break
			}
			if pause(ctx, 100*time.Millisecond) != nil {
				return fmt.Errorf("open a room: %w", err)
			}
		}
	}
	return nil
}

// waitSeated waits until everybody has been in a room, or for a while.
func (m *matching) waitSeated(ctx context.Context) {
	m.say("all %d players have come; waiting until each has been in a room", len(m.seekers))
	deadline := time.Now().Add(seatedWithin)
	for time.Now().Before(deadline) && pause(ctx, 100*time.Millisecond) == nil {
		left := 0
		for _, s := range m.seekers {
			if !s.over() {
				left++
			}
		}
		if left == 0 {
			return
		}
	}
}

// books asks any server that answers for the queue's.
func (m *matching) books(ctx context.Context) (q load.Queue, err error) {
	for _, base := range m.stack.API.URLs() {
		p := load.NewPoster(base, m.stack.Access.Key(), callTimeout)
		q, err = p.Queue(ctx, drillQueue)
		p.Close()
		if err == nil {
			return q, nil
		}
	}
	return q, fmt.Errorf("ask for the books: %w", err)
}

// killMatcher kills the server that makes the matches, and later has the one that
// makes them then stand still for a while.
func killMatcher(ctx context.Context, m *matching) error {
	if err := pause(ctx, warmUp); err != nil {
		return err
	}
	i, err := m.leader(ctx)
	if err != nil {
		return err
	}
	m.say("killing API server %d, which makes the matches", i)
	m.faultAt = time.Now()
	if err := m.stack.API.Kill(i); err != nil {
		return err
	}
	if err := pause(ctx, warmUp); err != nil {
		return err
	}
	if i, err = m.leader(ctx); err != nil {
		return err
	}
	m.say("API server %d makes them; it stands still for %v", i, matcherStall)
	return standStill(ctx, matcherStall, m.stack.API.PIDs()[i])
}

func (m *matching) leader(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWithin)
	defer cancel()
	return m.stack.API.Leader(ctx, drillQueue)
}

// account settles the books; everybody has stopped.
func (m *matching) account(q load.Queue) {
	r := &m.result
	r.HarnessStallMS = m.stalls.longest().Milliseconds()
	v := judgeSeekers(m.seekers)
	r.Connections, r.Notifications, r.Accepted, r.Written = len(m.seekers), v.told, v.waited, v.told
	r.Lost, r.Duplicated, r.Misdelivered, r.Repeated = v.waited-v.told, v.twice, v.strange, v.repeated
	r.Refused, r.FailedConnects, r.LongestGapMS = v.refused, v.unconnected, v.longest.Milliseconds()
	r.Books = balanced
	if q.Created != q.Ended.Sum()+q.Tickets {
		r.Books = fmt.Sprintf("%s %d: created %d, ended %d, waiting %d", offBy, q.Created-q.Ended.Sum()-q.Tickets, q.Created, q.Ended.Sum(), q.Tickets)
		r.breaks("the books do not balance: %s", r.Books)
	}
	if q.Created != v.waited || q.Ended.Matched != v.told {
		r.breaks("by the books %d tickets were created and %d matched; %d players were told that they wait, and %d of a match", q.Created, q.Ended.Matched, v.waited, v.told)
	}
	if v.refused+v.unconnected > 0 {
		r.breaks("%d players were refused and %d could not connect, one: %s", v.refused, v.unconnected, v.example)
	}
	if v.unseated > 0 {
		r.breaks("%d players were told of a match and did not come into its room, one: %s", v.unseated, v.example)
	}
	if limit := matchGap + m.stalls.longest(); v.longest > limit {
		r.breaks("a player waited for a match for %v, want less than %v", v.longest.Round(time.Millisecond), limit)
	}
	r.Promise = Kept
	if r.Lost+r.Duplicated+r.Misdelivered > 0 || len(r.Broke) > 0 {
		r.Promise = Broken
	}
	m.say("%d tickets, %d players told of a match and %d of them seated, %d tickets matched by the books: promise %s",
		v.waited, v.told, v.told-v.unseated, q.Ended.Matched, r.Promise)
}
