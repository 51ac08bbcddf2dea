package drill

import (
	"os"
	"os/exec"
	"testing"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

// sidesOf builds a network whose namespaces nobody has made.
func sidesOf(sides func(string) side) *network {
	n := &network{sides: sides, left: &namespace{addr: leftAddr}, right: &namespace{addr: rightAddr}}
	for _, ns := range []*namespace{n.left, n.right} {
		ns.holder = exec.Command("sleep")
		ns.holder.Process = &os.Process{Pid: 1}
	}
	return n
}

func TestPlaceOfTheCutMaster(t *testing.T) {
	n := sidesOf(masterCut)
	var o stack.Options
	n.place(&o)
	if o.FrontHost != "" {
		t.Errorf("the front listens on %s", o.FrontHost)
	}
	for name, want := range map[string]string{
		"pubsub-1-0": leftAddr, "pubsub-1-2": rightAddr, "sentinel-1": rightAddr, "pubsub-2-0": homeAddr, "data-1": homeAddr,
	} {
		r := redisproc.ServerOptions{Name: name}
		if o.Place(&r); r.Host != want || (len(r.Under) == 0) != (want == homeAddr) {
			t.Errorf("%s is at %s under %v, want %s", name, r.Host, r.Under, want)
		}
	}
}
