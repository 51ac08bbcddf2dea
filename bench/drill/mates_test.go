package drill

import (
	"errors"
	"io"
	"testing"
	"time"

	client "github.com/homing/homing/client/go"
)

// TestWhoNoticesLateIsAwaySinceTheKill has a friend be told of an end that the client
// itself had noticed a moment before only.
func TestWhoNoticesLateIsAwaySinceTheKill(t *testing.T) {
	ms := newMates("", nil)
	now := time.Now()
	ms.kills = []time.Time{now.Add(-20 * time.Second), now.Add(-4 * time.Second)}
	for name, c := range map[string]struct {
		noticed time.Time
		left    bool
		err     error
		away    bool // for long enough when its friend was told, a second later
	}{
		"late":                     {now, false, io.EOF, true},
		"much too late":            {now.Add(7 * time.Second), false, io.EOF, false},
		"it left":                  {now, true, io.EOF, false},
		"it was told to come back": {now, false, &client.CloseError{Code: comeBack}, false},
	} {
		m := &mate{mates: ms}
		from := c.noticed
		if !c.left {
			from = ms.since(c.noticed, c.err)
		}
		m.absences = []absence{{from: from, left: c.left}}
		if away := m.wasAway(c.noticed.Add(time.Second), mateLinger); away != c.away {
			t.Errorf("%s: away for long enough: %v, want %v", name, away, c.away)
		}
	}
	if got := newMates("", nil).since(now, errors.New("reset")); !got.Equal(now) {
		t.Errorf("nobody was killed, and it is away since %v", now.Sub(got))
	}
}
