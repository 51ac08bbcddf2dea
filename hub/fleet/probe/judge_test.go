package probe

import (
	"fmt"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

var epoch = time.Date(2026, 6, 5, 20, 0, 0, 0, time.UTC)

// play notes results of one node, a second apart, and returns its states after each.
// a: answered, t: turned away, f: failed, v: void.
func play(j *judge, id, results string) (states string) {
	outcomes := map[rune]Outcome{'a': Answered, 't': TurnedAway, 'f': Failed, 'v': Void}
	for i, c := range results {
		j.note(id, Result{Outcome: outcomes[c], Why: "it hangs", At: epoch.Add(time.Duration(i) * time.Second)})
		states += string("ugr"[j.nodes[id].mark.State])
	}
	return states
}

func TestStates(t *testing.T) {
	for _, test := range []struct{ results, want string }{
		{"a", "g"},
		{"affaf", "ggggg"},
		{"afffaaf", "gggrrgg"},
		{"afffafafaa", "gggrrrrrrg"},
		{"afvfvvf", "ggggggr"},     // a void one neither counts nor begins anew
		{"affttff", "ggggggg"},     // one that turns clients away answers
		{"afffttfff", "gggrrgggr"}, // and is green by that
		{"ffff", "uuuu"},           // young
		{"ffffffffa", "uuuuurrrr"}, // not young any more
		{"fffa", "uuug"},
	} {
		j := newJudge(policy{failures: 3, successes: 2, grace: 5 * time.Second})
		j.add("n", epoch)
		if got := play(j, "n", test.results); got != test.want {
			t.Errorf("%s: states %s, want %s", test.results, got, test.want)
		}
	}
}

func TestMarkSaysWhySince(t *testing.T) {
	j := newJudge(policy{failures: 2, successes: 1})
	j.add("n", epoch)
	play(j, "n", "aff")
	marks, doubt := j.marks()
	if want := (Mark{Red, "it hangs", epoch.Add(2 * time.Second)}); marks["n"] != want || doubt {
		t.Errorf("marks %v, %v; want %v", marks, doubt, want)
	}
	j.note("other", Result{Outcome: Failed})
	if len(j.nodes) != 1 {
		t.Error("a node is known that is not watched")
	}
}

func TestDoubt(t *testing.T) {
	for _, test := range []struct {
		nodes, fail int
		doubt       bool
	}{
		{1, 1, false}, {2, 1, false}, {2, 2, true}, {4, 2, false}, {4, 3, true}, {9, 4, false}, {9, 5, true},
	} {
		j := newJudge(policy{failures: 1, successes: 1})
		for i := range test.nodes {
			id := fmt.Sprint(i)
			j.add(id, epoch)
			play(j, id, "a")
			if i < test.fail {
				play(j, id, "f")
			}
		}
		marks, doubt := j.marks()
		red := 0
		for _, m := range marks {
			if m.State == Red {
				red++
			}
		}
		want := test.fail
		if test.doubt {
			want = 0
		}
		if doubt != test.doubt || red != want {
			t.Errorf("%d of %d fail: doubt %v, %d red", test.fail, test.nodes, doubt, red)
		}
		if test.doubt { // when it is over the others are red at once
			for i := range test.fail - 1 {
				play(j, fmt.Sprint(i), "a")
			}
			if marks, _ := j.marks(); marks[fmt.Sprint(test.fail-1)].State != Red {
				t.Errorf("%d of %d: the last one is not red when the others answer", test.fail, test.nodes)
			}
		}
	}
}

// A hang that begins just after a probe is found within three seconds.
func TestDefaultsFindAHangInTime(t *testing.T) {
	var c Config
	if err := kong.ApplyDefaults(&c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if worst := c.Every + time.Duration(c.Failures)*c.Timeout; worst >= 3*time.Second {
		t.Errorf("red after %v", worst)
	}
}
