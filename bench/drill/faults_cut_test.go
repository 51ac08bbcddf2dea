package drill

import (
	"testing"

	"github.com/homing/homing/bench/stack"
)

func TestSidesOfTheCuts(t *testing.T) {
	for _, c := range []struct {
		sides func(string) side
		want  map[string]side
	}{
		{frontCut, map[string]side{"front": left, "data-0": right, "pubsub-2-1": right, "sentinel-0": right}},
		{dataCut, map[string]side{"front": left, "data-0": right, "data-2": right, "pubsub-1-0": home, "sentinel-0": home}},
	} {
		n := sidesOf(c.sides)
		for name, want := range c.want {
			if got := c.sides(name); got != want {
				t.Errorf("%s is on side %d, want %d", name, got, want)
			}
		}
		var o stack.Options
		if n.place(&o); o.FrontHost != leftAddr || len(o.FrontUnder) == 0 {
			t.Errorf("the front is at %q under %v", o.FrontHost, o.FrontUnder)
		}
	}
}
