package arena

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room"
)

// spy is a room's Outlet that keeps everything.
type spy struct {
	frames [room.MaxSeats][]string
	ended  room.EndReason
	result string
}

func (s *spy) Frame(seat int, frame []byte) { s.frames[seat] = append(s.frames[seat], string(frame)) }

func (s *spy) Left(int, room.Member, room.LeaveReason, string) {}

func (s *spy) Ended(why room.EndReason, result []byte) { s.ended, s.result = why, string(result) }

// read is all that the member on a seat has read.
func (s *spy) read(seat int) string { return strings.Join(s.frames[seat], "\n") }

// game is a room of the class, its logic, and its clock.
type game struct {
	*room.Room
	*spy
	t           *testing.T
	class       room.Class
	logic       *arena
	now         time.Duration
	generations [room.MaxSeats]uint64
	record      bytes.Buffer
}

func begin(t *testing.T, seats int, users ...hub.UserID) *game {
	t.Helper()
	g := &game{t: t, spy: &spy{}, class: Class("arena", seats)}
	if err := g.class.Validate(); err != nil {
		t.Fatal(err)
	}
	g.watch()
	g.Room = room.NewRecorded("r1", &g.class, 7, g.spy, g.now, room.NewRecorder(&g.record))
	for _, user := range users {
		g.join(user)
	}
	return g
}

// watch has the next logic of the class be g's.
func (g *game) watch() {
	fresh := g.class.New
	g.class.New = func() room.Logic {
		l := fresh()
		g.logic = l.(*arena)
		return l
	}
}

func (g *game) join(user hub.UserID) room.Member {
	g.t.Helper()
	if _, err := g.Reserve(user, g.now); err != nil {
		g.t.Fatal(err)
	}
	return g.back(user, 0)
}

func (g *game) back(user hub.UserID, after uint64) room.Member {
	g.t.Helper()
	seat, generation, err := g.Join(user, after)
	if err != nil {
		g.t.Fatal(err)
	}
	g.generations[seat] = generation
	return room.Member{User: user, Seat: seat}
}

func (g *game) ticks(n int) {
	for range n {
		g.now += time.Second / hz
		g.Tick(g.now)
	}
}

func (g *game) say(seat int, text string) {
	g.t.Helper()
	if err := g.Message(seat, g.generations[seat], []byte(text), g.now); err != nil {
		g.t.Errorf("say %s: %v", text, err)
	}
}

// alone takes guards and coins away, so that nothing happens by chance.
func (g *game) alone() {
	g.logic.Guards = nil
	for i := range g.logic.Coins {
		g.logic.Coins[i] = point{-1000, -1000}
	}
}

// play lets everybody do something by chance, for so many ticks.
func (g *game) play(dice *rand.Rand, ticks int) {
	for range ticks {
		for _, m := range g.Members() {
			switch hand := g.logic.Players[m.Seat].Hand; {
			case dice.IntN(5) == 0:
				g.say(m.Seat, fmt.Sprintf(`{"move":[%d,%d]}`, dice.IntN(201)-100, dice.IntN(201)-100))
			case dice.IntN(40) == 0 && len(hand) > 0:
				g.say(m.Seat, fmt.Sprintf(`{"play":%d}`, hand[0].ID))
			case dice.IntN(40) == 0:
				g.say(m.Seat, `{"chat":"hi"}`)
			}
		}
		g.ticks(1)
	}
}

func TestPlayersSeeEachOther(t *testing.T) {
	g := begin(t, 4, "ann", "bob")
	g.ticks(1)
	g.say(0, `{"chat":"hello"}`)
	g.say(0, `{"move":[0,100]}`)
	at := g.logic.Players[0].At
	g.ticks(1)
	first := g.frames[1][0]
	for _, want := range []string{`"who.0":{"user":"ann","score":0}`, `"who.1":{"user":"bob"`, `"at.0":[`, `"guard.1":[`, `"coin.6":[`, `"bar":{"angle":0,"turn":1,"since":0}`, `"game":{"ends":1800,"goal":15,"seats":4}`} {
		if !strings.Contains(first, want) {
			t.Errorf("no %s in %s", want, first)
		}
	}
	for _, want := range []string{fmt.Sprintf(`"at.0":[%d,%d]`, at[0], at[1]+playerSpeed), `"from":"ann","data":{"is":"chat","text":"hello"}`} {
		if got := g.frames[1][1]; !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// What stands still is not told again, and a player who says nothing any more stops.
func TestHeadingsAreForgotten(t *testing.T) {
	g := begin(t, 4, "ann", "bob")
	g.alone()
	g.say(0, `{"move":[0,-100]}`)
	g.ticks(headingTicks + 1)
	read, at := len(g.frames[1]), g.logic.Players[0].At
	g.ticks(50)
	if now := len(g.frames[1]); now != read || g.logic.Players[0].At != at {
		t.Errorf("%d frames more, from %v to %v", now-read, at, g.logic.Players[0].At)
	}
}

func TestGuardsWalkAndCatch(t *testing.T) {
	g := begin(t, 4, "ann")
	was := slices.Clone(g.logic.Guards)
	g.ticks(10)
	for i, now := range g.logic.Guards {
		if d := now.At.minus(was[i].At).length(); d == 0 || d > 10*guardSpeed {
			t.Errorf("guard %d has walked %d units", i, d)
		}
	}
	g.alone()
	p := &g.logic.Players[0]
	p.At, p.Score, p.SafeEnds = point{40, 40}, 5, 0
	g.logic.Guards = []guard{{body: body{At: point{120, 40}}, Goal: point{600, 380}}}
	for n := 0; p.Score == 5 && n < 100; n++ {
		g.ticks(1)
	}
	if p.Score != 4 || p.At != g.logic.home(0) || !strings.Contains(g.read(0), `"data":{"is":"caught"}`) {
		t.Errorf("the guard at %v has not caught a player that it saw: %+v", g.logic.Guards[0].At, p)
	}
	g.logic.Guards[0].At = p.At
	g.ticks(safeTicks - 2) // it lets a player go that it has caught
	if p.Score != 4 {
		t.Errorf("caught twice: %+v", p)
	}
}

// The bar goes through nobody: who stands in its way is taken along, to either side
// when it turns back.
func TestTheBarPushes(t *testing.T) {
	g := begin(t, 4, "ann")
	g.alone()
	p := &g.logic.Players[0]
	p.At = middle.plus(point{60, 30})
	start, turned := p.At, false
	for range 2*turnTicks + 10 {
		g.ticks(1)
		way, from := directions[g.logic.Bar.at(g.Ticks())], p.At.minus(middle)
		along, beside := (from[0]*way[0]+from[1]*way[1])/1024, (from[1]*way[0]-from[0]*way[1])/1024
		if max(along, -along) <= barReach && max(beside, -beside) < playerSize {
			t.Fatalf("tick %d: the bar lies over the player at %v", g.Ticks(), p.At)
		}
		turned = turned || g.logic.Bar.Turn == -1
	}
	if p.At == start || !turned || strings.Count(g.read(0), `"bar":{`) != 3 {
		t.Errorf("from %v to %v, turned %t", start, p.At, turned)
	}
}

// Ticks is the present tick.
func (g *game) Ticks() int64 { return g.Stats().Ticks + g.Stats().Skipped }

// Nobody but who holds a card receives a byte of it, not even who sits there next.
func TestHandsAreHidden(t *testing.T) {
	g := begin(t, 3, "ann", "bob", "carl")
	dice := rand.New(rand.NewPCG(1, 1))
	cards := make(map[hub.UserID]map[int]bool) // that somebody has ever held, by number
	seats := map[hub.UserID]int{"ann": 0, "bob": 1, "carl": 2, "dora": 0}
	note := func() {
		for _, m := range g.Members() {
			if cards[m.User] == nil {
				cards[m.User] = make(map[int]bool)
			}
			for _, c := range g.logic.Players[m.Seat].Hand {
				cards[m.User][c.ID] = true
			}
		}
	}
	round := func() {
		for range 300 {
			g.play(dice, 1)
			note()
		}
		for _, m := range g.Members() { // who comes back reads every state
			g.back(m.User, 0)
		}
		g.play(dice, 1)
	}
	note()
	round()
	annRead := g.read(0)
	g.Leave(0, g.generations[0])
	g.frames[0] = nil
	g.join("dora")
	note()
	round()
	read := map[hub.UserID]string{"ann": annRead, "bob": g.read(1), "carl": g.read(2), "dora": g.read(0)}
	for owner, ids := range cards {
		for id := range ids {
			for user, text := range read {
				if there := strings.Contains(text, fmt.Sprint(id)); there != (user == owner) {
					t.Errorf("card %d of %s: %s has read it: %t", id, owner, user, there)
				}
			}
		}
		for user, text := range read {
			hand := fmt.Sprintf(`"hand.%d"`, seats[owner])
			if seats[user] != seats[owner] && strings.Contains(text, hand) {
				t.Errorf("%s has read of %s", user, hand)
			}
		}
	}
	if len(cards) != 4 || len(cards["bob"]) < 2 {
		t.Errorf("hardly a card: %v", cards)
	}
}

func TestCards(t *testing.T) {
	g := begin(t, 2, "ann", "bob")
	g.alone()
	ann, bob := &g.logic.Players[0], &g.logic.Players[1]
	ann.Hand = []card{{1, "dash"}, {2, "swap"}, {3, "turn"}}
	g.say(1, `{"play":1}`) // not bob's
	g.say(0, `{"play":1}`)
	g.say(0, `{"play":1}`)
	g.say(0, `{"move":[0,-100]}`)
	at := ann.At
	g.ticks(1)
	if d := at.minus(ann.At).length(); d != dashSpeed || strings.Count(g.read(1), `"is":"played","text":"dash"`) != 1 {
		t.Errorf("with a dash ann has gone %d; bob has read %s", d, g.read(1))
	}
	mine, theirs := ann.At, bob.At
	for n := 0; ann.At == mine && n < 100; n++ { // until the lot falls on bob
		ann.Hand = []card{{2, "swap"}}
		g.say(0, `{"play":2}`)
	}
	if ann.At != theirs || bob.At != mine {
		t.Errorf("%v and %v are now at %v and %v", mine, theirs, ann.At, bob.At)
	}
	ann.Hand = []card{{3, "turn"}}
	g.say(0, `{"play":3}`)
	if g.logic.Bar.Turn != -1 || len(ann.Hand) != 0 {
		t.Errorf("%+v, %v", g.logic.Bar, ann.Hand)
	}
}

// Bad moves are clamped: nobody is faster than others, or outside.
func TestBadMovesAreClamped(t *testing.T) {
	for _, move := range []string{
		`{"move":[1000,0]}`, `{"move":[100,100]}`, `{"move":[-100,-100]}`, `{"move":[0,-9223372036854775808]}`,
		`{"move":[9223372036854775807,9223372036854775807]}`,
		`{"move":[1e99,0]}`, `{"move":[0.5,0]}`, `{"move":[1]}`, `{"move":[1,2,3]}`, `{"move":"up"}`, `{"move":null}`, `[]`, `7`,
	} {
		g := begin(t, 4, "ann")
		g.alone()
		p := &g.logic.Players[0]
		for range 10 * hz {
			was := p.At
			g.say(0, move)
			g.ticks(1)
			if d := p.At.minus(was).length(); d > playerSpeed && g.logic.Bar.push(was, g.Ticks()) == was {
				t.Fatalf("%s: %d units in a tick", move, d)
			}
			if p.At != p.At.inside(playerSize) {
				t.Fatalf("%s: at %v", move, p.At)
			}
		}
	}
}

func TestSkippedTicksAreMadeGood(t *testing.T) {
	g := begin(t, 4, "ann")
	g.alone()
	at := g.logic.Players[0].At
	g.say(0, `{"move":[0,-100]}`)
	g.now += 3 * time.Second / hz
	g.Tick(g.now)
	if d := at.minus(g.logic.Players[0].At).length(); d != 3*playerSpeed {
		t.Errorf("%d units in three ticks", d)
	}
}

func TestTheGoalEndsTheGame(t *testing.T) {
	g := begin(t, 2, "ann", "bob")
	if reply, err := g.Signal("create", []byte(`{"goal":3,"guards":0,"unknown":1}`)); err != nil || string(reply) != `{"seconds":90,"goal":3,"guards":0}` {
		t.Fatalf("%s, %v", reply, err)
	}
	g.logic.Players[1].Score = 2
	g.logic.Coins[0] = g.logic.Players[1].At
	g.ticks(1)
	const want = `{"why":"goal","scores":[{"user":"ann","score":0},{"user":"bob","score":3}]}`
	if g.ended != room.EndFinished || g.result != want {
		t.Errorf("ended %q with %s", g.ended, g.result)
	}
	if over := `"data":{"is":"over","result":` + want + `}`; !strings.Contains(g.read(0), over) {
		t.Errorf("ann has not read of the end: %s", g.read(0))
	}
}

func TestTimeEndsTheGame(t *testing.T) {
	g := begin(t, 2)
	if _, err := g.Signal("create", []byte(`{"seconds":2}`)); err != nil {
		t.Fatal(err)
	}
	g.ticks(3 * hz) // nobody is there: no time runs
	g.join("ann")
	g.ticks(2*hz - 1)
	if g.ended != "" {
		t.Fatalf("ended %q too early", g.ended)
	}
	g.ticks(1)
	if g.ended != room.EndFinished || !strings.Contains(g.result, `"why":"time"`) {
		t.Errorf("ended %q with %s", g.ended, g.result)
	}
}

func TestSignals(t *testing.T) {
	g := begin(t, 4, "ann")
	for _, c := range []struct {
		name, data string
		guards     int // afterwards; -1: refused
	}{
		{"spawn", `3`, 5},
		{"create", `{"guards":1}`, 1},
		{"create", `null`, 1},
		{"spawn", `9223372036854775807`, -1},
		{"spawn", `-1`, 1},
		{"spawn", `"x"`, -1},
		{"create", `{"guards":-1}`, -1},
		{"create", `{"seconds":0}`, -1},
		{"create", `{"goal":1001}`, -1},
		{"create", `[]`, -1},
		{"shutdown", `1`, -1},
	} {
		was := len(g.logic.Guards)
		_, err := g.Signal(c.name, []byte(c.data))
		if want := max(c.guards, 0); (err != nil) != (c.guards < 0) || err == nil && len(g.logic.Guards) != want || err != nil && len(g.logic.Guards) != was {
			t.Errorf("%s %s: %v, %d guards", c.name, c.data, err, len(g.logic.Guards))
		}
	}
	g.ticks(1)
	if strings.Count(g.read(0), `"guard.`) != 1 {
		t.Errorf("ann reads %s", g.read(0))
	}
}

func TestWhoLeavesIsGone(t *testing.T) {
	g := begin(t, 2, "ann", "bob")
	g.ticks(1)
	g.Leave(0, g.generations[0])
	g.ticks(1)
	for _, want := range []string{`"who.0":null`, `"at.0":null`, `"from":"ann","data":{"is":"left"}`} {
		if got := g.frames[1][len(g.frames[1])-1]; !strings.Contains(got, want) || strings.Contains(got, "hand.0") {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// A game that is restored from a snapshot at any tick goes on to the byte as the one
// that was not interrupted.
func TestSnapshotsAreComplete(t *testing.T) {
	for seed := range uint64(10) {
		g := begin(t, 5, "ann", "bob", "carl")
		dice := rand.New(rand.NewPCG(seed, 0))
		g.play(dice, 1+dice.IntN(600))
		if g.ended != "" {
			t.Fatalf("ended %q", g.ended)
		}
		snapshot, err := g.Snapshot(g.now)
		if err != nil {
			t.Fatal(err)
		}
		there := &game{t: t, spy: &spy{}, class: Class("arena", 5), now: g.now}
		there.watch()
		if there.Room, err = room.Restore(snapshot, &there.class, there.spy, there.now); err != nil {
			t.Fatal(err)
		}
		g.frames = there.frames
		for _, x := range []*game{g, there} {
			for _, user := range []hub.UserID{"ann", "bob", "carl"} {
				x.back(user, 3)
			}
			x.play(rand.New(rand.NewPCG(seed, 1)), 400)
		}
		for seat := range 3 {
			if !slices.Equal(g.frames[seat], there.frames[seat]) || len(there.frames[seat]) < 100 {
				t.Errorf("seed %d: seat %d reads another game after a snapshot", seed, seat)
			}
		}
		if g.result != there.result {
			t.Errorf("seed %d: %s, then %s", seed, g.result, there.result)
		}
	}
}

// A record, replayed, says the same to everybody.
func TestReplay(t *testing.T) {
	g := begin(t, 20, "ann", "bob", "carl")
	dice := rand.New(rand.NewPCG(3, 3))
	g.play(dice, 300)
	if _, err := g.Signal("spawn", []byte(`2`)); err != nil {
		t.Fatal(err)
	}
	g.Gone(1, g.generations[1], g.now)
	g.ticks(7)
	g.back("bob", 2)
	g.play(dice, 300)
	again, class := &spy{}, Class("arena", 20)
	if _, err := room.Replay(&g.record, &class, again); err != nil {
		t.Fatal(err)
	}
	for seat := range 3 {
		if !slices.Equal(again.frames[seat], g.frames[seat]) || len(g.frames[seat]) < 500 {
			t.Errorf("seat %d reads another game in the replay", seat)
		}
	}
}

func TestSnapshotsOfOthers(t *testing.T) {
	g := begin(t, 4, "ann")
	good, err := g.logic.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := (&arena{seats: 4}).Restore(nil, good); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":      nil,
		"null":         []byte(`null`),
		"cut off":      good[:len(good)/2],
		"no goal":      bytes.Replace(good, []byte(`"goal":15`), []byte(`"goal":0`), 1),
		"no players":   []byte(`{"settings":{"seconds":1,"goal":1,"guards":1}}`),
		"other bodies": bytes.Replace(good, []byte(`"at":[`), []byte(`"at":[0,`), 1),
	} {
		if err := (&arena{seats: 4}).Restore(nil, bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (&arena{seats: 5}).Restore(nil, good); err == nil {
		t.Error("a snapshot of fewer seats is taken")
	}
}

// Nothing that members, the backend or a snapshot say makes the logic panic.
func FuzzWhatIsSaid(f *testing.F) {
	for _, seed := range []string{
		`{"move":[100,-100]}`, `{"play":1}`, `{"chat":"hi"}`, `{"seconds":1,"goal":1,"guards":32}`, `5`, `null`,
		`{"settings":{"seconds":1,"goal":1,"guards":1},"players":[{"at":[9223372036854775807,-9223372036854775808],"hand":[{"id":1,"card":"x"}]},{}],"guards":[{}],"coins":[[],[0,0],[1,1],[2,2],[3,3]],"bar":{"angle":-5,"turn":9223372036854775807,"since":-1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g := begin(t, 2, "ann", "bob")
		_ = g.Message(0, g.generations[0], data, g.now)
		for _, name := range []string{"create", "spawn", string(data)} {
			_, _ = g.Signal(name, data)
		}
		_ = g.logic.Restore(nil, data)
		g.play(rand.New(rand.NewPCG(1, 1)), 10)
		if why := g.Room.Ended(); why != "" && why != room.EndFinished {
			t.Errorf("ended %q: %s", why, g.result)
		}
		for _, m := range g.Members() {
			if at := g.logic.Players[m.Seat].At; at != at.inside(playerSize) {
				t.Errorf("%s stands at %v", m.User, at)
			}
		}
	})
}
