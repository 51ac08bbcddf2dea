package drill

import (
	"net/http"
	"testing"
	"time"
)

func TestReadinessIsTruthful(t *testing.T) {
	unready := []int{http.StatusServiceUnavailable}
	broke(t, "", func(d *drill) {
		d.readiness.checkNames([]answer{{status: 503, body: "'MGET' refused"}}, unready, "mget")
	})
	broke(t, "did not say", func(d *drill) { d.readiness.checkNames([]answer{{status: 503, body: "no idea"}}, unready, "mget") })
	broke(t, "did not say", func(d *drill) { d.readiness.checkNames([]answer{{status: 200, body: "mget"}}, unready, "mget") })
	broke(t, "", func(d *drill) { d.readiness.checkDegraded([]answer{{status: 200, body: "degraded: data-2"}}) })
	broke(t, "not 200 and degraded", func(d *drill) { d.readiness.checkDegraded([]answer{{status: 200, body: "ready"}}) })
	t0 := time.Now()
	late := func(status int) []answer {
		return []answer{{at: t0.Add(time.Second), status: 200}, {at: t0.Add(notReadyWithin + time.Second), status: status}}
	}
	broke(t, "", func(d *drill) { d.faultAt = t0; d.readiness.checkUnready(late(503), t0.Add(time.Minute)) })
	broke(t, "did not say 503", func(d *drill) { d.faultAt = t0; d.readiness.checkUnready(late(200), t0.Add(time.Minute)) })
}
