package drill

import (
	"testing"
	"time"
)

func TestHerdsAreNotKeptWaiting(t *testing.T) {
	t0 := time.Now()
	connect := func(at, took time.Duration, status int) []answer {
		return []answer{{what: "connect", at: t0.Add(at), took: took, status: status}}
	}
	check := func(answers []answer) func(d *drill) {
		return func(d *drill) { d.faultAt = t0; d.newcomers.checkHerds(answers) }
	}
	broke(t, "", check(connect(0, 3*time.Second, 200)))
	broke(t, "failed or hung", check(connect(0, 4*time.Second, 200)))
	broke(t, "failed or hung", check(connect(3*time.Second, 2*time.Second, 200)))
	broke(t, "failed or hung", check(connect(3*time.Second, time.Second, 0)))
	broke(t, "", check(connect(3*time.Second, time.Second, 200)))
}
