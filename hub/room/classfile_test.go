package room

import (
	"strings"
	"testing"
	"time"
)

func TestParseClasses(t *testing.T) {
	all, err := ParseClasses([]byte("classes:\n  - name: lobby\n    seats: 50\n    hz: 10\n    grace: 1m\n    checkpoint: 2s\n  - {name: duel}\n"))
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	if c := all[0]; c.Name != "lobby" || c.Seats != 50 || c.Hz != 10 || c.Grace != time.Minute || c.Checkpoint != 2*time.Second || c.MemberRate != DefaultClass().MemberRate {
		t.Errorf("%+v", c)
	}
	for text, want := range map[string]string{
		"":                                           "no classes",
		"rooms: []":                                  "rooms not found",
		"classes:\n  - {name: a, seat: 3}":           "line 2: yaml",
		"classes:\n  - {name: a}\n  - {name: a}":     "line 3: class a: stands twice",
		"classes:\n  - {name: a, seats: 1000}":       "line 2: class a: 1000 seats",
		"classes:\n  - {name: a, grace: 3}":          "time.Duration",
		"classes:\n  - {name: a, says: nothing}":     "says \"nothing\"",
		"classes:\n  - {name: a, checkpoint: 1ms}":   "checkpoint 1ms",
		"classes:\n  - {name: a, member_rate: .nan}": "rates NaN",
	} {
		if _, err := ParseClasses([]byte(text)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
