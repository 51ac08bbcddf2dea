package drill

import (
	"net/http"
	"time"
)

// judge judges the answers that calls got.
type judge struct{ *journal }

// checkAll wants every call answered as it was meant to be.
func (j judge) checkAll(what string, answers []answer) {
	failed := 0
	var example answer
	for _, a := range answers {
		if !a.ok() {
			failed, example = failed+1, a
		}
	}
	j.say("%s: %d of %d", what, len(answers)-failed, len(answers))
	if failed > 0 {
		j.result.breaks("%s: %d of %d failed, one %.1fs after the fault: %v", what, failed, len(answers), example.at.Sub(j.faultAt).Seconds(), example)
	}
}

// checkRefusals wants every refusal to be one that a caller knows what to do
// with: 503, or 409 for an id that is under way, and when to try again. Others
// that the scenario allows are named.
func (j judge) checkRefusals(answers []answer) {
	odd := make(map[string]int)
	var example answer
	for _, a := range answers {
		known := a.ok() || a.wait && (a.status == http.StatusServiceUnavailable || a.status == http.StatusConflict)
		if !known {
			odd[a.what]++
			example = a
		}
	}
	if len(odd) > 0 {
		j.result.breaks("calls were answered otherwise than by 200, or 503 with Retry-After: %v; the last: %v", odd, example)
	}
}

// checkRefusalsOf is checkRefusals for calls of the API; a player who could
// not connect has no HTTP answer to look at.
func (j judge) checkRefusalsOf(what string, answers []answer) {
	if what != "connect" {
		j.say("%s: %v", what, count(answers))
		j.checkRefusals(answers)
	}
}

// checkRefused wants 503, and when to try again.
func (j judge) checkRefused(answers []answer) {
	for _, a := range answers {
		if a.status != http.StatusServiceUnavailable || !a.wait {
			j.result.breaks("%s: not refused with 503 and Retry-After: %v", a.what, a)
			return
		}
	}
}

// checkFailovers wants calls to be answered again soon after each failover.
func (j judge) checkFailovers(what string, answers []answer, began []time.Time) {
	j.checkRefusalsOf(what, answers)
	for i, at := range began {
		next := time.Now()
		if i+1 < len(began) {
			next = began[i+1]
		}
		took, limit := back(answers, at, next), answeredWithin+j.stalls.longest()
		j.say("%s: answered as ever %.2fs after failover %d", what, took.Seconds(), i+1)
		if took > limit {
			j.result.breaks("%s: refused or late up to %v after planned failover %d, want at most %v", what, took.Round(10*time.Millisecond), i+1, limit.Round(time.Millisecond))
		}
	}
}
