package bench

import (
	"errors"
	"testing"
)

// TestMatch matches players at a small real stack, kills a server and fails over.
func TestMatch(t *testing.T) {
	o := small(t)
	o.Rate, o.Seconds, o.APIs, o.Workers, o.Replicas = 60, 5, 2, 1, 2
	flat := runJSON(t, "match", o)
	want(t, flat, "tickets_per_s", "wait_p50_ms", "wait_p99_ms", "p999_wait_ms", "ended_matched", "matches", "retried", "api_cores", "redis_cores")
	for _, name := range []string{"double", "lost", "left", "ended_expired", "ended_lost", "refused", "unanswered"} {
		if v, ok := flat[name]; !ok || v != 0 {
			t.Errorf("%s = %v (%v), want 0", name, v, ok)
		}
	}
	ended := flat["ended_matched"] + flat["ended_cancelled"]
	if flat["created"] != 300 || ended+flat["waiting"] != 300 || flat["waiting"] > 1 || flat["matches"] != flat["ended_matched"]/2 {
		t.Errorf("match: %v", flat)
	}
}

// TestMatchSaysWhatWasNotKept: tickets that nobody can match fail the scenario.
func TestMatchSaysWhatWasNotKept(t *testing.T) {
	err := broken([]string{"one thing", "another"})
	if !errors.Is(err, errMatchBroken) || err.Error() != errMatchBroken.Error()+": one thing; another" {
		t.Error(err)
	}
	if err := broken(nil); err != nil {
		t.Error(err)
	}
}
