package index

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// TestFailuresAreWarnedOfOnce: that Redis has not been asked yet, as at every
// start, is no reason to warn; the first failure after it is.
func TestFailuresAreWarnedOfOnce(t *testing.T) {
	r, err := redisx.New(redistest.Config(t, "redis://127.0.0.1:1"), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	l := newShardWriter(&Registrar{log: slog.New(slog.NewTextHandler(&log, nil))}, r.Data.Lead(), true)
	_, notAsked := r.Data.Lead().Master()
	for _, step := range []struct {
		err          error
		warned, over int
	}{
		{notAsked, 0, 0},
		{nil, 0, 0},
		{notAsked, 0, 0},
		{redisx.ErrNoMaster, 1, 0},
		{errors.New("another"), 1, 0},
		{nil, 1, 1},
		{nil, 1, 1},
		{redisx.ErrNoMaster, 2, 1},
	} {
		l.outcome(0, step.err)
		warned, over := strings.Count(log.String(), "registering fails"), strings.Count(log.String(), "registering works again")
		if warned != step.warned || over != step.over {
			t.Fatalf("after %v: %d warnings and %d ends, want %d and %d:\n%s", step.err, warned, over, step.warned, step.over, log.String())
		}
	}
}
