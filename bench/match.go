package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/lobby"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/bench/usage"
)

var matchScenario = scenario{
	name: "match", measure: measureMatch, own: own{rate: 1000, apis: 3, replicas: 2},
	headline: []string{"tickets_per_s", "wait_p50_ms", "wait_p99_ms", "p999_wait_ms", "double", "lost", "left"},
}

// Help is shown below the flags.
func (MatchFlags) Help() string {
	return `It starts Redis with replicas and Sentinels, three API servers that make matches,
and a front whose workers run the rooms. Tickets of one player each are put over
REST at the three servers in turn, on a schedule that does not wait, into a queue
of duels. Ratings are normally distributed (1500 ± 300). Each ticket accepts
ratings within 100 of its own, after 5 s 200, after 10 s 400, after 20 s all; both
have to accept. Some tickets are canceled again (--cancel). Every two seconds a
player comes whose rating one in a thousand has: p999_wait_ms is the longest that
such a one waits.

After two fifths of the load the server that makes the matches is killed, after
three fifths the master of data Redis. Callers whose call fails ask the next
server, under the same id.

At the end it waits until nobody is left who could be matched (one may be), asks
for every ticket, and compares that with the books in Redis. A wait is the time
from the instant at which a ticket was to be put until its players were told.

It fails, with status 1, when a ticket, player or room was used twice (double), a
ticket that was taken is unknown or ended as lost (lost), two or more wait (left),
one has expired, was not taken by any server, or is canceled and matched; when
created is not ended + waiting; or when one of the rare players waits for more
than 30 s.

Examples:

  homing bench match                             # 1,000 tickets a second, a minute
  homing bench match --rate 300 --seconds 10
  homing bench match --no-kill --no-failover     # how long players wait in peace`
}

const (
	matchQueue   = "duel"
	matchSeconds = 60

	// Rooms are as cheap as they can be: nobody comes.
	matchClasses = "classes:\n  - {name: " + matchQueue + ", seats: 2, hz: 1, reserve: 2s, idle: 1s}\n"
	matchQueues  = "queues:\n  - name: " + matchQueue + "\n    class: " + matchQueue + "\n    teams: 2\n    team_size: 1\n    expire: 5m\n    steps:\n" +
		"      - {window: 100}\n      - {after: 5s, window: 200}\n      - {after: 10s, window: 400}\n      - {after: 20s}\n"
	// matchLastStep is after how long a ticket accepts all others that do, too.
	matchLastStep = 20 * time.Second
	// matchGrace is what comes to that: a round, and the time without a master.
	matchGrace = 10 * time.Second

	killAfter, failAfter = 0.4, 0.6 // of the load
	masterTimeout        = 30 * time.Second
)

var errMatchBroken = errors.New("matchmaking has not kept what is promised")

// matching is the scenario on a running system.
type matching struct {
	*run

	stack  *stack.Stack
	lobby  *lobby.Lobby
	length time.Duration
	faults errorsOf
}

// errorsOf joins what fails beside the load.
type errorsOf struct {
	mu  sync.Mutex
	err error
}

func (e *errorsOf) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = errors.Join(e.err, err)
}

// measureMatch puts tickets at a rate, breaks what is to be broken, and counts what
// has become of each.
func measureMatch(ctx context.Context, r *run) (err error) {
	o := r.opts
	dir, err := writeMatchFiles()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	so := o.stack()
	queues := []string{"--match-queues", filepath.Join(dir, "queues.yaml")}
	so.Rooms, so.APIArgs = true, queues
	so.FrontArgs = append(append(so.FrontArgs, queues...), "--room-classes", filepath.Join(dir, "classes.yaml"))
	r.say("starting Redis, %d API and %d front worker processes", o.APIs, o.workers())
	s, err := stack.Start(ctx, so)
	if err != nil {
		return err
	}
	m := &matching{run: r, stack: s, length: time.Duration(cmp.Or(o.Seconds, matchSeconds) * float64(time.Second))}
	return errors.Join(m.play(ctx), s.Stop(false))
}

// writeMatchFiles writes the files of the queue and of its rooms' class into a new
// directory.
func writeMatchFiles() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "homing-match-"); err != nil {
		return "", fmt.Errorf("write the queue: %w", err)
	}
	for name, text := range map[string]string{"queues.yaml": matchQueues, "classes.yaml": matchClasses} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write the queue: %w", errors.Join(err, os.RemoveAll(dir)))
		}
	}
	return dir, nil
}

func (m *matching) play(ctx context.Context) error {
	if err := m.warm(ctx); err != nil {
		return err
	}
	m.lobby = lobby.Open(lobby.Options{
		APIs: m.stack.API.URLs(), Key: m.stack.Access.Key(), Queue: matchQueue,
		Rate: m.opts.Rate, Duration: m.length, Cancel: m.opts.Cancel,
		Master: m.master, Recent: m.stack.Keys().Match(matchQueue, "recent"), Say: m.say,
	})
	defer m.lobby.Close()
	took, used, err := m.load(ctx)
	if err != nil {
		return err
	}
	m.say("waiting until nobody is left who could be matched")
	if err := m.drain(ctx); err != nil {
		return err
	}
	m.say("asking what has become of every ticket")
	if err := m.lobby.AskAll(ctx); err != nil {
		return err
	}
	books, err := m.lobby.Books(ctx)
	if err != nil {
		return err
	}
	v := m.lobby.Judge(books, matchLastStep+matchGrace)
	m.addVerdict(v, took, used)
	return errors.Join(broken(v.Broke), m.stack.Alive())
}

// broken is an error of what was not kept; nil: all was.
func broken(what []string) error {
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errMatchBroken, strings.Join(what, "; "))
}

// warm opens a room through each API server: from then on all of them can.
func (m *matching) warm(ctx context.Context) error {
	for _, base := range m.stack.API.URLs() {
		calls := load.NewPoster(base, m.stack.Access.Key(), openTimeout)
		err := openRoom(ctx, calls, []byte(`{"class":"`+matchQueue+`","users":[]}`), nil)
		calls.Close()
		if err != nil {
			return fmt.Errorf("open a room: %w", err)
		}
	}
	return nil
}

// master is data Redis, where the queue is.
func (m *matching) master(ctx context.Context) (*redis.Client, error) {
	srv, err := m.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return nil, err
	}
	return srv.Client(), nil
}

// load puts the tickets, and makes the faults meanwhile.
func (m *matching) load(ctx context.Context) (took time.Duration, used usage.Interval, err error) {
	m.say("%.0f tickets/s of players rated %d ± %d for %v, over %d API servers in turn", m.opts.Rate, lobby.Mean, lobby.Deviation, m.length, m.opts.APIs)
	sampler := usage.NewSampler(
		usage.Group{Name: rig.Front, PIDs: m.stack.Front.PIDs},
		usage.Group{Name: rig.API, PIDs: func() ([]int, error) { return m.stack.API.PIDs(), nil }},
		usage.Group{Name: rig.Redis, PIDs: func() ([]int, error) { return m.stack.Redis.PIDs(), nil }},
		usage.Group{Name: rig.Callers, PIDs: func() ([]int, error) { return []int{os.Getpid()}, nil }},
	)
	before, err := sampler.Read()
	if err != nil {
		return 0, used, fmt.Errorf("read what the system uses: %w", err)
	}
	beside, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { m.lobby.Watch(beside) })
	all.Go(func() { m.faults.add(m.lobby.AskEarly(beside)) })
	all.Go(func() { m.sample(beside, sampler) })
	all.Go(func() { m.faults.add(m.breakThings(beside)) })
	took = m.lobby.Run(ctx)
	after, err := sampler.Read()
	stop()
	all.Wait()
	return took, after.Since(before), errors.Join(err, ctx.Err(), m.faults.err)
}

// sample has the sampler see processes before they end.
func (m *matching) sample(ctx context.Context, s *usage.Sampler) {
	for rig.Pause(ctx, time.Second) == nil {
		if _, err := s.Read(); err != nil {
			m.faults.add(err)
			return
		}
	}
}

// drain waits for those who can be matched, and goes on watching when that is.
func (m *matching) drain(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { m.lobby.Watch(watching) })
	err := m.lobby.Drain(ctx, matchLastStep+matchGrace)
	stop()
	watch.Wait()
	return err
}

// breakThings kills a server and the master, each in its time.
func (m *matching) breakThings(ctx context.Context) error {
	began := time.Now()
	for _, f := range []struct {
		on    bool
		after float64
		fault func(context.Context) error
	}{
		{m.opts.Kill && m.opts.APIs > 1, killAfter, m.killLeader},
		{m.opts.Failover && m.opts.Replicas > 0, failAfter, m.failOver},
	} {
		if !f.on {
			continue
		}
		if rig.Pause(ctx, time.Duration(f.after*float64(m.length))-time.Since(began)) != nil {
			return nil //nolint:nilerr // the load has ended
		}
		if err := f.fault(ctx); err != nil {
			return err
		}
	}
	return nil
}

// killLeader kills the API server that makes the matches.
func (m *matching) killLeader(ctx context.Context) error {
	i, err := m.stack.API.Leader(ctx, matchQueue)
	if err != nil {
		return err
	}
	m.say("killing API server %d, which makes the matches", i)
	return m.stack.API.Kill(i)
}

// failOver kills the master of data Redis, and has it follow the new one, as whoever
// runs it does.
func (m *matching) failOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), masterTimeout)
	defer cancel()
	old, err := m.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	m.say("killing the master of data Redis")
	began := time.Now()
	old.Crash()
	for {
		now, err := m.stack.Redis.Master(ctx, stack.DataMaster)
		if err == nil && now != old {
			m.say("another is the master after %.1fs", time.Since(began).Seconds())
			if err := old.Restart(ctx, now.Addr()); err != nil {
				return fmt.Errorf("start the old master again: %w", err)
			}
			return nil
		}
		if err := rig.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("wait for another master: %w", err)
		}
	}
}

// addVerdict adds the figures.
func (m *matching) addVerdict(v *lobby.Verdict, took time.Duration, used usage.Interval) {
	wait := func(percent float64) float64 { return float64(v.Waits.ValueAtPercentile(percent)) / 1000 }
	m.Add("tickets_per_s", float64(v.Taken)/took.Seconds(), "tickets taken a second")
	m.Add("wait_p50_ms", wait(50), "ms from a ticket's instant until its players were told of a match")
	m.Add("wait_p90_ms", wait(90), "the same, p90")
	m.Add("wait_p99_ms", wait(99), "the same, p99")
	m.Add("wait_max_ms", float64(v.Waits.Max())/1000, "the same, the longest")
	m.Add("p999_wait_ms", float64(v.Rare.Max())/1000, fmt.Sprintf("the longest of players rated %.0f, as one in a thousand is", lobby.RareRating))
	m.Add("p999_players", float64(v.Rare.TotalCount()), "of those, matched")
	for _, n := range []struct {
		name  string
		n     int
		about string
	}{
		{"double", v.Double, "tickets, players, rooms and matches used twice"},
		{"lost", v.Lost, "tickets that were taken, and nobody knows of"},
		{"left", v.Left, "tickets that wait and could have been matched"},
		{"created", v.Books.Created, "tickets, by the books in Redis"},
		{"ended_matched", v.Books.Ended.Matched, "of those"},
		{"ended_cancelled", v.Books.Ended.Cancelled, "of those"},
		{"ended_expired", v.Books.Ended.Expired, "of those"},
		{"ended_lost", v.Books.Ended.Lost, "of those"},
		{"waiting", v.Books.Tickets, "of those, at the end"},
		{"matches", v.Matches, "different ones that tickets name"},
		{"refused", v.Refused, "tickets that no server took"},
		{"unanswered", v.Unanswered, "tickets that no server answered"},
		{"retried", v.Retried, "calls made again, at the next server"},
	} {
		m.Add(n.name, float64(n.n), n.about)
	}
	m.Add("api_cores", used.Groups[rig.API].Cores, "cores that the API servers used during the load")
	m.Add("redis_cores", used.Groups[rig.Redis].Cores, "cores that Redis used, replicas too")
	m.Add("front_cores", used.Groups[rig.Front].Cores, "cores that the front used, which runs the rooms")
	m.Add("callers_cores", used.Groups[rig.Callers].Cores, "cores that the callers used")
	m.Add("machine_cores", used.Busy, "cores of the machine that were busy")
	m.Charts = append(m.Charts, report.LatencyChart("wait by percentile", report.Latency{Name: "tickets", Micros: v.Waits}))
	m.noteMatch(v, used)
}

// othersMayUse is how many cores others may use meanwhile, Sentinels among them,
// without a word.
const othersMayUse = 0.3

// noteMatch says what weighs on the figures.
func (m *matching) noteMatch(v *lobby.Verdict, used usage.Interval) {
	others := used.Busy
	for _, g := range used.Groups {
		others -= g.Cores
	}
	if others > othersMayUse {
		m.note("Other programs used %.1f of the machine's %d cores meanwhile: waits are longer than they would be without them.", others, used.Cores)
	}
	if m.opts.Failover && m.opts.Replicas == 0 {
		m.note("Without replicas nobody can take over from the master of data Redis: there was no failover.")
	}
	if v.Unseen > 0 {
		m.note("Of %d matched tickets nobody has seen when their players were told; their waits are not in the figures.", v.Unseen)
	}
}
