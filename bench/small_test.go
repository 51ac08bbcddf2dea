package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/rig"
)

func TestSmallLoadsAreNoted(t *testing.T) {
	for _, c := range []struct {
		load  rig.Load
		noted bool
	}{
		{rig.Load{Deliveries: 225_000, Took: 15 * time.Second}, false},
		{rig.Load{Deliveries: 10_000, Took: time.Second}, true},
		{rig.Load{Deliveries: 40_000, Took: time.Minute}, true},
		{rig.Load{Took: time.Second}, true},
	} {
		var stderr bytes.Buffer
		r := newRun("notify", Options{}, &stderr)
		r.noteSmallLoad(c.load)
		if noted := len(r.Notes) > 0; noted != c.noted || noted != strings.Contains(stderr.String(), "A small load") {
			t.Errorf("%d in %v: %q, %s", c.load.Deliveries, c.load.Took, r.Notes, stderr.String())
		}
	}
	r := newRun("idle", Options{}, &bytes.Buffer{})
	r.noteFewConns(Options{ConnsFlag: ConnsFlag{Conns: leastConns}})
	if r.noteFewConns(Options{ConnsFlag: ConnsFlag{Conns: 10}}); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "Few connections, 10") {
		t.Errorf("%q", r.Notes)
	}
}
