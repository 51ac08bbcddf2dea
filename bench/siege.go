package bench

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/homing/homing/bench/abuse"
	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/stack"
)

// siege is a system with an attacker before it.
type siege struct {
	*trial

	system   homing
	attacker *abuse.Attacker
}

// endured is what the others noticed of one attack.
type endured struct {
	kind           abuse.Kind
	before, during rig.Load
	tally          abuse.Tally
	newcomers      newcomers
	frontGrew      int64 // bytes resident, all processes of the front, at the most
	redisMost      int64 // bytes that the data master used at the most
	failovers      int   // masters that are others than before
}

// endure goes through the attacks.
func (s *siege) endure(ctx context.Context, kinds []abuse.Kind) error {
	if _, err := s.rig.Connect(ctx, kindly*float64(s.opts.AdmitRate*s.opts.workers())); err != nil {
		return err
	}
	if err := s.rig.Warm(ctx, s.opts.Rate, warmUp); err != nil {
		return err
	}
	var all []endured
	for _, k := range kinds {
		e, err := s.attack(ctx, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		s.say("%s: p99 %.1f ms, before %.1f; %s", k.Name, e.during.Percentile(99), e.before.Percentile(99), e.tallied())
		all = append(all, e)
		if err := rig.Pause(ctx, recovery); err != nil {
			return err
		}
	}
	return s.add(ctx, all)
}

// attack has one attack made under load, after as long without it.
func (s *siege) attack(ctx context.Context, k abuse.Kind) (e endured, err error) {
	e.kind = k
	target, err := s.target(k)
	if err != nil {
		return e, err
	}
	if err := s.attacker.Prepare(ctx, k.Name, target); err != nil {
		return e, err
	}
	masters, err := s.masters(ctx)
	if err != nil {
		return e, err
	}
	if e.before, err = s.rig.Load(ctx, s.opts.Rate, s.opts.Duration); err != nil {
		return e, err
	}
	seen := len(s.rig.Moments())
	s.say("a hostile %s %s", k.Who, k.Does)
	if err := s.under(ctx, target, &e); err != nil {
		return e, err
	}
	e.frontGrew = grown(s.rig.Moments(), seen)
	now, err := s.masters(ctx)
	for name, addr := range masters {
		if now[name] != addr {
			e.failovers++
		}
	}
	return e, err
}

// under is the attack itself, and everything that goes on beside it.
func (s *siege) under(ctx context.Context, target abuse.Target, e *endured) error {
	over, end := context.WithCancel(ctx)
	defer end()
	var work errgroup.Group
	work.Go(func() (err error) {
		e.tally, err = s.attacker.Attack(ctx, e.kind.Name, target, s.opts.Duration)
		return err
	})
	work.Go(func() error {
		e.newcomers = come(over, target.Front, s.system.Secret(), e.kind.Name)
		return nil
	})
	work.Go(func() error { return s.watchRedis(over, &e.redisMost) })
	work.Go(func() (err error) {
		defer end()
		e.during, err = s.rig.Load(ctx, s.opts.Rate, s.opts.Duration)
		return err
	})
	return work.Wait()
}

// target is what an attack of that kind is aimed at. Every attack has a player
// of its own, so that none finds what another left.
func (s *siege) target(k abuse.Kind) (t abuse.Target, err error) {
	t = abuse.Target{
		Front: strings.TrimSuffix(strings.TrimPrefix(s.system.Front.URL(), "ws://"), "/ws"), TLS: s.system.Front.TLSAddr(), API: s.system.APIs()[0],
		User: hostileKey + "-" + k.Name, Key: s.system.Access.KeyOf(hostileKey), From: hostileFrom,
	}
	t.Token, err = clients.Token(s.system.Secret(), t.User, "")
	return t, err
}

// masters says which server is which master now.
func (s *siege) masters(ctx context.Context) (map[string]string, error) {
	now := make(map[string]string)
	for _, name := range []string{stack.DataShard(0), stack.ShardMaster(0)} {
		srv, err := s.system.Redis.Master(ctx, name)
		if err != nil {
			return nil, err
		}
		now[name] = srv.Addr()
	}
	return now, nil
}

// watchRedis looks what the data master uses, until ctx ends.
func (s *siege) watchRedis(ctx context.Context, most *int64) error {
	for {
		n, err := s.system.Redis.Memory(context.WithoutCancel(ctx), stack.DataShard(0))
		if err != nil {
			return err
		}
		*most = max(*most, n)
		if rig.Pause(ctx, 500*time.Millisecond) != nil {
			return nil //nolint:nilerr // the attack is over
		}
	}
}

// grown is by how much the front grew from moments[seen-1] on.
func grown(moments []rig.Moment, seen int) (bytes int64) {
	if seen == 0 {
		return 0
	}
	start := moments[seen-1].Held.Groups[rig.Front].RSS
	for _, m := range moments[seen:] {
		bytes = max(bytes, m.Held.Groups[rig.Front].RSS-start)
	}
	return bytes
}

// newcomers are well-behaved players who come during an attack, one after
// another, each from an address of its own.
type newcomers struct {
	came, failed int
	worst        time.Duration // from connect to hello
	reason       error         // why the last failed
}

// come lets newcomers in, ten a second, until ctx ends.
func come(ctx context.Context, front string, secret []byte, name string) (n newcomers) {
	const every = 100 * time.Millisecond
	for ; ctx.Err() == nil; n.came++ {
		start := time.Now()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 77, byte(n.came/250), byte(n.came%250+1))}}
		token, err := clients.Token(secret, fmt.Sprintf("newcomer-%s-%d", name, n.came), "")
		if err == nil {
			err = visit(context.WithoutCancel(ctx), dialer, front, token)
		}
		took := time.Since(start)
		n.worst = max(n.worst, took)
		if err != nil {
			n.failed, n.reason = n.failed+1, err
		}
		_ = rig.Pause(ctx, every-took) // then the attack is over
	}
	return n
}

func visit(ctx context.Context, dialer net.Dialer, front, token string) error {
	conn, err := abuse.Enter(ctx, dialer, front, token)
	if err != nil {
		return err
	}
	return conn.Close() //nolint:wrapcheck // only shown
}

func (e *endured) ratio() float64 { return e.during.Percentile(99) / e.before.Percentile(99) }

// harm lists what the others noticed and should not have.
func (e *endured) harm() (all []string) {
	add := func(harmed bool, format string, args ...any) {
		if harmed {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(e.ratio() > mayRatio, "p99 is %.1f times that of before", e.ratio())
	add(e.during.Refused > 0, "%d calls of another key were refused", e.during.Refused)
	add(e.newcomers.failed > 0, "%d of %d newcomers were not let in, the last because: %v", e.newcomers.failed, e.newcomers.came, e.newcomers.reason)
	add(e.failovers > 0, "%d masters were replaced", e.failovers)
	add(e.frontGrew > mayFront, "the front grew by %d MiB", e.frontGrew>>20)
	add(e.redisMost > mayRedis, "data Redis used %d MiB of %d", e.redisMost>>20, abuseRedis>>20)
	return all
}

// tallied is the tally in words.
func (e *endured) tallied() string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(e.tally)) {
		parts = append(parts, fmt.Sprintf("%d %s", e.tally[what], what))
	}
	return strings.Join(parts, ", ")
}

// add adds what was endured: a table, and figures for each kind.
func (s *siege) add(ctx context.Context, all []endured) error {
	r := s.run
	harmed, worst, refused, failed, failovers := 0, 0.0, 0, 0, 0
	table := report.Table{
		Title:   "what the others noticed",
		Columns: []string{"hostile", "kind", "p99 before ms", "p99 ms", "ratio", "refused", "newcomers", "failed", "worst ms", "front +MiB", "Redis MiB", "failovers", "the attacker"},
	}
	for i := range all {
		e := &all[i]
		harm := e.harm()
		if len(harm) > 0 {
			harmed++
			r.Notes = append(r.Notes, e.kind.Name+": "+strings.Join(harm, "; "))
		}
		worst, refused, failed, failovers = max(worst, e.ratio()), refused+e.during.Refused, failed+e.newcomers.failed, failovers+e.failovers
		table.Rows = append(table.Rows, e.row())
	}
	r.Tables = append(r.Tables, table)
	r.Add("conns", float64(s.opts.Conns), "well-behaved connections held")
	r.Add("deliveries_per_s", s.opts.Rate*float64(s.opts.Online), "to them, due")
	r.Add("kinds", float64(len(all)), "attacks made")
	r.Add("harmed", float64(harmed), "of those, others noticed more than they may")
	r.Add("worst_p99_ratio", worst, "the others' p99 as a multiple of before, in the worst attack")
	r.Add("refused_in_attacks", float64(refused), "calls of another key that were refused meanwhile")
	r.Add("newcomers_failed", float64(failed), "well-behaved players who were not let in")
	r.Add("failovers", float64(failovers), "Redis masters replaced")
	for i := range all {
		all[i].addFigures(r)
	}
	if err := s.addVerdict(ctx); err != nil {
		return err
	}
	if lost := r.Get("lost"); lost > 0 || harmed > 0 {
		return fmt.Errorf("%w: by %d of %d attacks, %v deliveries lost", errHarmed, harmed, len(all), math.Max(lost, 0))
	}
	return nil
}

const mib = 1 << 20

func (e *endured) row() []string {
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		e.kind.Who, e.kind.Name,
		fmt.Sprintf("%.1f", e.before.Percentile(99)), fmt.Sprintf("%.1f", e.during.Percentile(99)), fmt.Sprintf("%.2f", e.ratio()),
		strconv.Itoa(e.during.Refused), strconv.Itoa(e.newcomers.came), strconv.Itoa(e.newcomers.failed), whole(e.newcomers.worst.Milliseconds()),
		whole(e.frontGrew / mib), whole(e.redisMost / mib), strconv.Itoa(e.failovers), e.tallied(),
	}
}

// addFigures adds the figures of one attack, under names that begin with its kind.
func (e *endured) addFigures(r *run) {
	name := e.kind.Name + "_"
	r.Add(name+"before_p99_ms", e.before.Percentile(99), "ms, the others' before")
	r.Add(name+"p99_ms", e.during.Percentile(99), "ms, the others' meanwhile")
	r.Add(name+"p99_ratio", e.ratio(), "that as a multiple of before")
	r.Add(name+"refused", float64(e.during.Refused), "calls of another key that were refused")
	r.Add(name+"newcomers_failed", float64(e.newcomers.failed), "well-behaved players who were not let in")
	r.Add(name+"newcomer_worst_ms", float64(e.newcomers.worst.Microseconds())/1000, "ms, the longest from connect to hello")
	r.Add(name+"front_grew_mib", float64(e.frontGrew)/mib, "MiB that the front grew by at the most")
	r.Add(name+"redis_mib", float64(e.redisMost)/mib, "MiB that the data master used at the most")
}
