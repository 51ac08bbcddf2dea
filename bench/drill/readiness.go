package drill

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// readiness is what servers say at /readyz, and whether it is true.
type readiness struct {
	*journal

	backend *backend
}

// watch asks a server whether it is ready, ten times a second.
func (r *readiness) watch(ctx context.Context, what, base string) *watch {
	return watching(ctx, 100*time.Millisecond, func(ctx context.Context, _ int) answer {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return r.backend.call(ctx, what, http.MethodGet, base+"/readyz", nil)
	})
}

// wait wants /readyz to say 200 within limit, and reports after how long it did.
func (r *readiness) wait(ctx context.Context, what, base string, limit time.Duration) time.Duration {
	began := time.Now()
	for {
		a := r.backend.call(ctx, what, http.MethodGet, base+"/readyz", nil)
		took := time.Since(began)
		if a.ok() {
			return took
		}
		if took > limit || pause(ctx, 100*time.Millisecond) != nil {
			r.result.breaks("%s is not ready after %v: %v", what, took.Round(time.Millisecond), a)
			return took
		}
	}
}

// checkUnready wants that a server said that it was not ready, soon enough and
// for as long as the fault lasted.
func (r *readiness) checkUnready(answers []answer, healed time.Time) {
	limit := r.faultAt.Add(notReadyWithin + r.stalls.longest())
	for _, a := range between(answers, limit, healed) {
		if a.status != http.StatusServiceUnavailable {
			r.result.breaks("%.1fs after the fault /readyz did not say 503: %v", a.at.Sub(r.faultAt).Seconds(), a)
			return
		}
	}
}

// checkNames wants /readyz to answer with one of the statuses, and to name what
// is refused, or where.
func (r *readiness) checkNames(answers []answer, statuses []int, what string) {
	for _, a := range answers {
		named := strings.Contains(strings.ToLower(a.body), what)
		if !slices.Contains(statuses, a.status) || !named {
			r.result.breaks("%.1fs after the fault /readyz did not say %v and %s: %v", a.at.Sub(r.faultAt).Seconds(), statuses, what, a)
			return
		}
	}
	if len(answers) > 0 {
		r.say("/readyz: %v", answers[len(answers)-1])
	}
}

// checkDegraded wants a server that can serve some to say so.
func (r *readiness) checkDegraded(answers []answer) {
	for _, a := range answers {
		if !a.ok() || !strings.Contains(a.body, "degraded") {
			r.result.breaks("/readyz is not 200 and degraded while one of two data shards is down: %v", a)
			return
		}
	}
	if len(answers) > 0 {
		r.say("/readyz: %v", answers[len(answers)-1])
	}
}
