package scale

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub/fleet"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) // a Monday

// rules are those of the cluster "game" whose nodes carry 100 players, of the text given.
func rules(t *testing.T, text string) *Rules {
	t.Helper()
	all, err := Parse(strings.NewReader("clusters:\n- cluster: game\n  max: 20\n  node: {players: 100}\n" + indent(text)))
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// world is a fleet that a test changes, with the rules that look at it.
type world struct {
	t     *testing.T
	rules *Rules
	state State
	at    time.Time
	nodes []fleet.Node
}

func newWorld(t *testing.T, text string, players ...int) *world {
	t.Helper()
	w := &world{t: t, rules: rules(t, text), at: noon}
	for _, p := range players {
		w.add(p)
	}
	return w
}

func (w *world) add(players int) {
	w.nodes = append(w.nodes, fleet.Node{ID: fmt.Sprintf("n%02d", len(w.nodes)), Cluster: "game", State: fleet.Ready, Load: fleet.Load{Connections: players}})
}

func (w *world) node(id string) *fleet.Node {
	i := slices.IndexFunc(w.nodes, func(n fleet.Node) bool { return n.ID == id })
	if i < 0 {
		w.t.Fatalf("no node %s", id)
	}
	return &w.nodes[i]
}

// step lets some time pass, and returns what is decided, as "grow 2" or "drain n01".
func (w *world) step(after time.Duration) []string {
	w.t.Helper()
	w.at = w.at.Add(after)
	var decisions []Decision
	w.state, decisions = w.rules.Step(w.state, &fleet.Snapshot{At: w.at, Nodes: w.nodes})
	did := []string{}
	for _, d := range decisions {
		if d.Why == "" || !d.At.Equal(w.at) || d.Cluster != "game" {
			w.t.Errorf("%+v", d)
		}
		did = append(did, strings.TrimSpace(strings.TrimSuffix(fmt.Sprintf("%s %d", strings.TrimSpace(string(d.Action)+" "+d.Node), d.Nodes), " 0")))
	}
	return did
}

func (w *world) want(after time.Duration, did ...string) {
	w.t.Helper()
	if diff := cmp.Diff(append([]string{}, did...), w.step(after)); diff != "" {
		w.t.Errorf("at %v: %s", w.at.Sub(noon), diff)
	}
}

func TestGrow(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		players     []int
		want        string
	}{
		{"minimum", "min_ready: 3", []int{0}, "grow 2"},
		{"average load", "", []int{70, 71}, "grow 1"},
		{"enough", "", []int{70, 70}, ""},
		{"head-room", "headroom: {players: 150}", []int{20}, "grow 1"},
		{"a full node", "node_load: 0.9", []int{95, 5, 5}, "grow 1"},
		{"a condition", "when: [{if: 'max_load > 0.5 && ready < 3', add: 2}]", []int{60, 5}, "grow 2"},
		{"a number", "when: [{if: 'hour == 12', at_least: 4}]", []int{60, 5}, "grow 2"},
		{"not more than max", "when: [{if: 'true', add: 20}]", []int{60, 5}, "grow 18"},
		{"a step", "min_ready: 1\nout: {step: 1}", []int{300}, "grow 1"},
		{"the minimum at once", "min_ready: 5\nout: {step: 1}", []int{0}, "grow 4"},
		{"the schedule", "schedule: [{from: '11:30', to: '13:00', min_ready: 3}]", []int{0}, "grow 2"},
		{"the schedule, ahead", "start_up: 5m\nschedule: [{from: '12:04', to: '13:00', min_ready: 3}]", []int{0}, "grow 2"},
		{"before the schedule", "start_up: 5m\nschedule: [{from: '12:06', to: '13:00', min_ready: 3}]", []int{0}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.rules, c.players...)
			if got := strings.Join(w.step(0), ","); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCooldown has a fleet grow at most every 3 minutes, and count what it has ordered.
func TestCooldown(t *testing.T) {
	w := newWorld(t, "start_up: 10m\ntrend: -1s", 80)
	w.want(0, "grow 1")
	w.want(time.Minute) // the order is counted
	w.nodes[0].Load.Connections = 200
	w.want(30*time.Second, "hold")
	w.want(30 * time.Second) // that is said once
	w.want(time.Minute, "grow 1")
	w.add(0)
	w.add(0)
	w.want(time.Minute)
	if len(w.state.Orders) != 0 {
		t.Errorf("orders are open: %v", w.state.Orders)
	}
}

func TestShrink(t *testing.T) {
	w := newWorld(t, "in: {every: 30m}", 10, 5, 30)
	w.want(0, "hold") // what happened before the first snapshot is not known
	w.want(29 * time.Minute)
	w.want(time.Minute, "drain n01")
	w.node("n01").State = fleet.Draining
	w.want(time.Minute, "hold") // only an empty one is taken
	w.node("n01").Load = fleet.Load{Rooms: 1}
	w.want(time.Minute)
	w.node("n01").Load = fleet.Load{}
	w.want(time.Minute, "remove n01")
	w.want(time.Minute)
	w.nodes = slices.Delete(w.nodes, 1, 2)
	w.want(time.Minute) // as asked
	w.want(25*time.Minute, "drain n00")
}

func TestShrinkIsHeld(t *testing.T) {
	w := newWorld(t, "in: {every: 1m}\nwhen: [{if: 'hour == 12', hold: true}]", 1, 1)
	w.want(0, "hold")
	w.want(59 * time.Minute)
	w.want(2*time.Minute, "drain n01")
}

// TestBack has nodes on their way out come back before new ones are ordered, the fullest
// first, but not one that was to be taken away.
func TestBack(t *testing.T) {
	w := newWorld(t, "trend: -1s\nin: {every: 1m, step: 3}", 5, 6, 7, 8)
	w.want(0, "hold")
	w.want(time.Minute, "drain n00", "drain n01", "drain n02")
	for i := range 3 {
		w.nodes[i].State = fleet.Draining
	}
	w.nodes[0].Load = fleet.Load{}
	w.want(time.Minute, "remove n00")
	w.nodes[3].Load.Connections = 300 // 313 players: 5 nodes
	w.want(time.Minute, "undrain n02", "undrain n01", "grow 2")
}

// TestNothingComes has a driver that says yes and does nothing told, and asked again.
func TestNothingComes(t *testing.T) {
	w := newWorld(t, "min_ready: 2\nstart_up: 2m", 0)
	w.want(0, "grow 1")
	w.want(4 * time.Minute)
	w.want(time.Minute, "late 1", "grow 1")
	w.add(0)
	w.want(time.Minute)
}

func TestNothingGoes(t *testing.T) {
	w := newWorld(t, "in: {every: 1m}", 0, 0)
	w.want(0, "hold")
	w.want(time.Minute, "drain n01")
	w.want(5*time.Minute, "late n01", "drain n01") // it is still ready
	w.node("n01").State = fleet.Draining
	w.want(time.Minute, "remove n01")
	w.want(5*time.Minute, "late n01", "remove n01")
}

// TestAnotherGoes has the loss of a node told, and the suspicion that it was taken for
// the one that was to go.
func TestAnotherGoes(t *testing.T) {
	w := newWorld(t, "min_ready: 2\nin: {every: 1m}", 40, 30, 0)
	w.want(0, "hold")
	w.want(time.Minute, "drain n02")
	w.node("n02").State = fleet.Draining
	w.want(time.Minute, "remove n02")
	w.nodes = slices.Delete(w.nodes, 0, 1)
	w.at = w.at.Add(time.Second)
	_, decisions := w.rules.Step(w.state, &fleet.Snapshot{At: w.at, Nodes: w.nodes})
	if len(decisions) != 2 || decisions[0].Action != Lost || !strings.Contains(decisions[0].Why, "n00 is gone with 40 players") || !strings.Contains(decisions[0].Why, "n02 was to go") {
		t.Errorf("%+v", decisions)
	}
	if decisions[1].Action != Grow || decisions[1].Nodes != 1 {
		t.Errorf("the minimum is not restored: %+v", decisions[1])
	}
}

// TestAhead has nodes ordered for the players who will be there when they are ready.
func TestAhead(t *testing.T) {
	w := newWorld(t, "start_up: 5m\nmin_ready: 1", 10, 10)
	for i := range 5 {
		w.nodes[0].Load.Connections = 10 + 20*i // 20 players a minute
		if did := w.step(time.Minute); i == 4 && !slices.Equal(did, []string{"grow 1"}) {
			t.Errorf("%v, with %v", did, w.state.Samples)
		}
	}
	w = newWorld(t, "start_up: 5m\ntrend: -1s", 10, 10)
	for i := range 5 {
		w.nodes[0].Load.Connections = 10 + 20*i
		if did := w.step(time.Minute); i > 0 && len(did) > 0 { // at first one too many is there
			t.Errorf("%v", did)
		}
	}
}

// TestOthersCount has nodes that carry nobody new counted for what they cost.
func TestOthersCount(t *testing.T) {
	w := newWorld(t, "min_ready: 3", 0, 0, 0)
	w.rules.Max = 4
	w.nodes[0].State, w.nodes[1].State = fleet.Red, fleet.Draining
	w.want(0, "grow 1") // 2 are missing, 1 is allowed
	w.want(time.Minute, "hold")
}

func TestOtherClusters(t *testing.T) {
	w := newWorld(t, "region: eu\nmin_ready: 2", 0, 0)
	w.nodes[0].Cluster, w.nodes[1].Region = "lobby", "us"
	w.want(0, "grow 2")
}

// TestPromises has 60 random fleets keep what rules promise: no node with players
// is removed, never more than max, paces kept, the same from the same, and from what was
// written and read again.
func TestPromises(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, "min_ready: 2\nheadroom: {players: 50}\nnode_load: 0.95\nin: {every: 20m, step: 2}\nwhen: [{if: 'red > 1', hold: true}]", 30, 30, 30)
		var lastOut, lastIn time.Time
		for range 200 {
			w.mutate(random)
			before, _ := json.Marshal(w.state)
			var again State
			if err := json.Unmarshal(before, &again); err != nil {
				t.Fatal(err)
			}
			w.at = w.at.Add(time.Duration(random.IntN(120)) * time.Second)
			snap := &fleet.Snapshot{At: w.at, Nodes: w.nodes}
			next, decisions := w.rules.Step(w.state, snap)
			if after, _ := json.Marshal(w.state); string(after) != string(before) {
				t.Fatalf("seed %d: the state given was changed", seed)
			}
			if _, twice := w.rules.Step(again, snap); cmp.Diff(decisions, twice) != "" {
				t.Fatalf("seed %d: %v", seed, cmp.Diff(decisions, twice))
			}
			w.state = next
			for _, d := range decisions {
				switch d.Action {
				case Remove:
					if n := w.node(d.Node); !n.Load.Empty() || n.State != fleet.Draining {
						t.Fatalf("seed %d: %+v is removed", seed, n)
					}
				case Grow:
					if total := len(w.nodes) + w.state.ordered(); total > w.rules.Max {
						t.Fatalf("seed %d: %d nodes, with those ordered", seed, total)
					}
					if ready := w.ready() + w.state.ordered() - d.Nodes; w.at.Sub(lastOut) < w.rules.Out.Every && ready >= 2 {
						t.Fatalf("seed %d: grown after %v with %d", seed, w.at.Sub(lastOut), ready)
					}
					lastOut = w.at
				case Drain:
					if strings.Contains(d.Why, "does not drain yet") {
						break
					}
					if w.at.Sub(lastIn) < w.rules.In.Every && !lastIn.Equal(w.at) {
						t.Fatalf("seed %d: shrunk after %v", seed, w.at.Sub(lastIn))
					}
					lastIn = w.at
				}
				w.carryOut(random, d)
			}
		}
	}
}

func (w *world) ready() (n int) {
	for _, x := range w.nodes {
		if _, leaves := w.state.Leaving[x.ID]; x.State == fleet.Ready && !leaves {
			n++
		}
	}
	return n
}

// mutate has players come and go, and nodes fail.
func (w *world) mutate(random *rand.Rand) {
	for i := range w.nodes {
		n := &w.nodes[i]
		switch {
		case n.State == fleet.Draining:
			n.Load.Connections /= 2
		case random.IntN(50) == 0:
			n.State = fleet.Red
		case n.State == fleet.Red && random.IntN(5) == 0, n.State == fleet.Starting && random.IntN(3) == 0:
			n.State = fleet.Ready
		case n.State == fleet.Ready:
			n.Load.Connections = max(0, min(100, n.Load.Connections+random.IntN(41)-20))
		}
	}
	if random.IntN(60) == 0 && len(w.nodes) > 0 {
		i := random.IntN(len(w.nodes))
		w.nodes = slices.Delete(w.nodes, i, i+1)
	}
}

// carryOut does as a driver does, most of the time.
func (w *world) carryOut(random *rand.Rand, d Decision) {
	if random.IntN(10) == 0 {
		return
	}
	switch d.Action {
	case Grow:
		for range d.Nodes {
			w.nodes = append(w.nodes, fleet.Node{ID: fmt.Sprintf("x%08d", random.IntN(100_000_000)), Cluster: "game", State: fleet.Starting})
		}
	case Drain:
		w.node(d.Node).State = fleet.Draining
	case Undrain:
		w.node(d.Node).State = fleet.Ready
	case Remove:
		w.nodes = slices.DeleteFunc(w.nodes, func(n fleet.Node) bool { return n.ID == d.Node })
	case Hold, Late, Lost:
	}
}
