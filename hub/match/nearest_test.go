package match

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

var start = time.Unix(1_700_000_000, 0)

func duel() *Queue {
	return &Queue{
		Name: "duel", Teams: 2, TeamSize: 1, Expire: time.Minute,
		Steps: []Step{{Window: 50}, {After: 10 * time.Second, Window: 100}, {After: 25 * time.Second, AnyLabel: true}},
	}
}

func squads() *Queue {
	return &Queue{
		Name: "squads", Teams: 2, TeamSize: 5, Expire: time.Minute,
		Steps: []Step{{Window: 100}, {After: 10 * time.Second, Window: 200, Players: 6}},
	}
}

// ticket is one of so many players, that has waited for a time.
func ticket(id string, players int, rating float64, waited time.Duration, labels ...string) *Ticket {
	t := &Ticket{ID: id, Rating: rating, Since: start.Add(-waited), Labels: labels}
	for i := range players {
		t.Players = append(t.Players, hub.UserID(fmt.Sprintf("%s-%d", id, i)))
	}
	return t
}

func ids(m Match) (all []string) {
	for _, t := range m.Tickets {
		all = append(all, t.ID)
	}
	return all
}

func match(t *testing.T, q *Queue, lacking []*Backfill, waiting ...*Ticket) (found [][]string) {
	t.Helper()
	for _, m := range run(t, q, waiting, lacking) {
		found = append(found, ids(m))
	}
	return found
}

// run matches, and checks what must hold of every match.
func run(t *testing.T, q *Queue, waiting []*Ticket, lacking []*Backfill) []Match {
	t.Helper()
	if err := q.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, x := range waiting {
		if err := q.Check(x); err != nil {
			t.Fatal(err)
		}
	}
	found := Nearest{}.Match(q, start, waiting, lacking)
	used := make(map[*Ticket]bool)
	for _, m := range found {
		free := q.free()
		if m.Backfill != nil {
			free = m.Backfill.Free
		}
		inTeams := 0
		for i, team := range m.Teams {
			n := 0
			for _, x := range team {
				n += len(x.Players)
				inTeams++
			}
			if n > free[i] || n == 0 && m.Backfill == nil {
				t.Errorf("%v: team %d has %d players of %d", ids(m), i, n, free[i])
			}
		}
		if inTeams != len(m.Tickets) {
			t.Errorf("%v: %d tickets in teams", ids(m), inTeams)
		}
		for _, x := range m.Tickets {
			if used[x] {
				t.Errorf("%s plays twice", x.ID)
			}
			used[x] = true
			wants(t, q, m, x)
		}
	}
	return found
}

// wants checks that x accepts all others of its match.
func wants(t *testing.T, q *Queue, m Match, x *Ticket) {
	t.Helper()
	step, players := q.step(start.Sub(x.Since)), 0
	for _, y := range m.Tickets {
		players += len(y.Players)
		if d := x.Rating - y.Rating; step.Window > 0 && max(d, -d) > step.Window {
			t.Errorf("%s, which accepts %v, plays with %s, which is %v away", x.ID, step.Window, y.ID, d)
		}
		if !step.AnyLabel && !share(x.Labels, y.Labels) {
			t.Errorf("%s plays with %s, with which it shares no label", x.ID, y.ID)
		}
	}
	if m.Backfill == nil && players < q.leastOf(step) {
		t.Errorf("%s plays in a match of %d", x.ID, players)
	}
}

func TestWindowsAreMutualAndWiden(t *testing.T) {
	for name, c := range map[string]struct {
		waiting []*Ticket
		want    [][]string
	}{
		"near":                  {[]*Ticket{ticket("a", 1, 1000, 0), ticket("b", 1, 1050, 0)}, [][]string{{"a", "b"}}},
		"too far":               {[]*Ticket{ticket("a", 1, 1000, 0), ticket("b", 1, 1051, 0)}, nil},
		"one accepts":           {[]*Ticket{ticket("a", 1, 1000, 11*time.Second), ticket("b", 1, 1090, 0)}, nil},
		"both accept":           {[]*Ticket{ticket("a", 1, 1000, 12*time.Second), ticket("b", 1, 1090, 11*time.Second)}, [][]string{{"a", "b"}}},
		"any distance":          {[]*Ticket{ticket("a", 1, 0, 26*time.Second), ticket("b", 1, 1e6, 25*time.Second)}, [][]string{{"a", "b"}}},
		"alone":                 {[]*Ticket{ticket("a", 1, 0, time.Hour)}, nil},
		"the nearest":           {[]*Ticket{ticket("a", 1, 1000, 5), ticket("b", 1, 1040, 4), ticket("c", 1, 1010, 3)}, [][]string{{"a", "c"}}},
		"oldest first":          {[]*Ticket{ticket("c", 1, 1001, 1), ticket("b", 1, 1000, 2), ticket("a", 1, 999, 3)}, [][]string{{"a", "b"}}},
		"another label":         {[]*Ticket{ticket("a", 1, 0, 0, "eu"), ticket("b", 1, 0, 0, "us")}, nil},
		"one of several":        {[]*Ticket{ticket("a", 1, 0, 0, "eu", "us"), ticket("b", 1, 0, 0, "us", "asia")}, [][]string{{"a", "b"}}},
		"a label and none":      {[]*Ticket{ticket("a", 1, 0, 0, "eu"), ticket("b", 1, 0, 0)}, nil},
		"one minds the label":   {[]*Ticket{ticket("a", 1, 0, time.Minute, "eu"), ticket("b", 1, 0, 0, "us")}, nil},
		"neither minds it":      {[]*Ticket{ticket("a", 1, 0, time.Minute, "eu"), ticket("b", 1, 0, time.Minute, "us")}, [][]string{{"a", "b"}}},
		"two with equal labels": {[]*Ticket{ticket("a", 1, 0, 3, "x", "y"), ticket("b", 1, 0, 2, "x", "y"), ticket("c", 1, 0, 1, "x", "y")}, [][]string{{"a", "b"}}},
	} {
		if got := match(t, duel(), nil, c.waiting...); !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The player that nobody is near is matched within the last step.
func TestTheLastOfAThousandIsMatched(t *testing.T) {
	waiting := []*Ticket{ticket("far", 1, 1e6, 26*time.Second), ticket("patient", 1, 1500, 26*time.Second)}
	for i := range 999 {
		waiting = append(waiting, ticket(fmt.Sprint("p", i), 1, float64(1000+i), time.Second))
	}
	found := match(t, duel(), nil, waiting...)
	if !slices.ContainsFunc(found, func(m []string) bool { return slices.Contains(m, "far") }) {
		t.Error("the last one waits on")
	}
	if len(found) < 490 {
		t.Errorf("%d matches of 1,001 players", len(found))
	}
}

func TestPartiesPlayTogetherOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		waiting []*Ticket
		want    [][]string
	}{
		"two full teams":        {[]*Ticket{ticket("a", 5, 0, 3), ticket("b", 5, 0, 2)}, [][]string{{"a", "b"}}},
		"threes and twos":       {[]*Ticket{ticket("a", 3, 0, 4), ticket("b", 3, 0, 3), ticket("c", 2, 0, 2), ticket("d", 2, 0, 1)}, [][]string{{"a", "b", "c", "d"}}},
		"three threes":          {[]*Ticket{ticket("a", 3, 0, 4), ticket("b", 3, 0, 3), ticket("c", 3, 0, 2), ticket("d", 1, 0, 1)}, nil},
		"fewer, later":          {[]*Ticket{ticket("a", 3, 0, 12*time.Second), ticket("b", 3, 0, 11*time.Second)}, [][]string{{"a", "b"}}},
		"fewer, not yet":        {[]*Ticket{ticket("a", 3, 0, 12*time.Second), ticket("b", 3, 0, 9*time.Second)}, nil},
		"fewer, one by one":     {six(11 * time.Second), [][]string{{"s0", "s1", "s2", "s3", "s4", "s5"}}},
		"a team against nobody": {[]*Ticket{ticket("a", 5, 0, 30*time.Second)}, nil},
	} {
		if got := match(t, squads(), nil, c.waiting...); !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func six(waited time.Duration) (all []*Ticket) {
	for i := range 6 {
		all = append(all, ticket(fmt.Sprint("s", i), 1, float64(10*i), waited-time.Duration(i)))
	}
	return all
}

// One that asks for more than there are keeps nobody else waiting.
func TestAFreshTicketBlocksNobody(t *testing.T) {
	q := squads()
	q.TeamSize = 2
	q.Steps = []Step{{}, {After: 10 * time.Second, Players: 2}}
	got := match(t, q, nil, ticket("a", 1, 0, 20*time.Second), ticket("b", 1, 0, 19*time.Second), ticket("z", 1, 0, 0))
	if !slices.EqualFunc(got, [][]string{{"a", "b"}}, slices.Equal) {
		t.Errorf("%v", got)
	}
}

// Who minds no label finds those of its own among many that would not agree.
func TestManyOfOtherLabels(t *testing.T) {
	q := duel()
	q.Steps = []Step{{Window: 10}, {After: 10 * time.Second, Window: 100, AnyLabel: true}}
	waiting := []*Ticket{ticket("c", 1, 0, 20*time.Second, "eu"), ticket("x", 1, 50, 20*time.Second, "eu")}
	for i := range 66 {
		waiting = append(waiting, ticket(fmt.Sprint("f", i), 1, float64(50*(i%2)), 0, fmt.Sprint("own", i)))
	}
	if got := match(t, q, nil, waiting...); !slices.EqualFunc(got, [][]string{{"c", "x"}}, slices.Equal) {
		t.Errorf("%v", got)
	}
}

func TestNobodyPlaysWithHimself(t *testing.T) {
	a, b := ticket("a", 1, 0, 1), ticket("b", 1, 0, 0)
	b.Players = a.Players
	if got := match(t, duel(), nil, a, b); got != nil {
		t.Errorf("%v", got)
	}
}

func TestTeamsAreBalanced(t *testing.T) {
	q := squads()
	q.TeamSize = 2
	q.Steps = []Step{{}}
	found := run(t, q, []*Ticket{ticket("a", 1, 100, 4), ticket("b", 1, 90, 3), ticket("c", 1, 20, 2), ticket("d", 1, 10, 1)}, nil)
	if len(found) != 1 {
		t.Fatal(found)
	}
	for _, team := range found[0].Teams {
		if sum := team[0].Rating + team[1].Rating; sum != 110 {
			t.Errorf("a team of %v", sum)
		}
	}
}

func TestBackfillGoesFirst(t *testing.T) {
	room := &Backfill{Room: "r1", Free: []int{0, 1}, Rating: 1000, Since: start}
	waiting := []*Ticket{ticket("a", 1, 1010, 3), ticket("b", 1, 1000, 2), ticket("c", 1, 1020, 1)}
	found := run(t, duel(), waiting, []*Backfill{room})
	if len(found) != 2 || found[0].Backfill != room || !slices.Equal(ids(found[0]), []string{"a"}) || !slices.Equal(ids(found[1]), []string{"b", "c"}) {
		t.Errorf("%+v", found)
	}
	for name, b := range map[string]*Backfill{
		"far away":      {Room: "r", Free: []int{1, 1}, Rating: 2000, Since: start},
		"without seats": {Room: "r", Free: []int{0, 0}, Rating: 1000, Since: start},
		"without teams": {Room: "r", Rating: 1000, Since: start},
		"another label": {Room: "r", Free: []int{1, 1}, Rating: 1000, Labels: []string{"eu"}, Since: start},
	} {
		if found := run(t, duel(), waiting, []*Backfill{b}); len(found) != 1 || found[0].Backfill != nil {
			t.Errorf("%s: %+v", name, found)
		}
	}
	large := &Backfill{Room: "r", Free: []int{2, 1}, Rating: 1000, Since: start}
	found = run(t, squads(), []*Ticket{ticket("a", 3, 1000, 3), ticket("b", 2, 1000, 2), ticket("c", 2, 1000, 1), ticket("d", 1, 1000, 0)}, []*Backfill{large})
	if len(found) != 1 || !slices.Equal(ids(found[0]), []string{"b", "d"}) {
		t.Errorf("%+v", found)
	}
}

// Whatever waits, nobody plays twice and everybody accepts everybody (see run).
func TestRandomQueues(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		q := duel()
		if seed%2 == 1 {
			q = squads()
		}
		var waiting []*Ticket
		for i := range rng.IntN(120) {
			x := ticket(fmt.Sprint(i), 1+rng.IntN(q.TeamSize), rng.NormFloat64()*200, time.Duration(rng.IntN(40))*time.Second)
			for l := range rng.IntN(3) {
				x.Labels = append(x.Labels, fmt.Sprint("l", (l+rng.IntN(2))%3))
			}
			x.Labels = slices.Compact(x.Labels)
			waiting = append(waiting, x)
		}
		run(t, q, waiting, []*Backfill{{Room: "r", Free: q.free()[:q.Teams], Rating: 0, Since: start.Add(-time.Minute)}})
	}
}

func TestQueuesThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Queue){
		"name":            func(q *Queue) { q.Name = "A" },
		"one player":      func(q *Queue) { q.Teams = 1 },
		"too many":        func(q *Queue) { q.TeamSize = 200 },
		"no steps":        func(q *Queue) { q.Steps = nil },
		"a late start":    func(q *Queue) { q.Steps[0].After = time.Second },
		"steps back":      func(q *Queue) { q.Steps[2].After = time.Second },
		"a window below":  func(q *Queue) { q.Steps[1].Window = -1 },
		"too few players": func(q *Queue) { q.Steps[1].Players = 1 },
		"a large party":   func(q *Queue) { q.Parties = []int{2} },
		"no end":          func(q *Queue) { q.Expire = 0 },
		"an overflow":     func(q *Queue) { q.Teams, q.TeamSize = 64, 1<<58+1 },
		"no window":       func(q *Queue) { q.Steps[1].Window = math.NaN() },
	} {
		q := duel()
		change(q)
		if q.Validate() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestTicketsThatCannotBe(t *testing.T) {
	nan := 0.0
	nan /= nan
	for name, x := range map[string]*Ticket{
		"nobody":       ticket("a", 0, 0, 0),
		"a party":      ticket("a", 2, 0, 0),
		"no rating":    ticket("a", 1, nan, 0),
		"a far rating": ticket("a", 1, 1e300, 0),
		"no label":     ticket("a", 1, 0, 0, ""),
		"no name":      {ID: "a", Players: []hub.UserID{""}},
		"many labels":  ticket("a", 1, 0, 0, make([]string, 20)...),
	} {
		if err := duel().Check(x); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	twice := ticket("a", 1, 0, 0)
	twice.Players = append(twice.Players, twice.Players[0])
	if err := squads().Check(twice); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("a player twice: %v", err)
	}
}

// BenchmarkNearest matches 10,000 players of whom nearly all find somebody, and
// 10,000 of whom nobody does: its cost must grow with their number alone.
func BenchmarkNearest(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		for name, apart := range map[string]float64{"all": 0.1, "none": 1000} {
			var waiting []*Ticket
			for i := range n {
				waiting = append(waiting, ticket(fmt.Sprint(i), 1, float64(i)*apart, time.Duration(i)))
			}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					Nearest{}.Match(squads(), start, waiting, nil)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/ticket")
			})
		}
	}
}
