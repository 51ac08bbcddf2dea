package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/homing/homing/hub"
)

func TestReadySaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		health hub.Health
		status int
		says   string
	}{
		{hub.Health{}, http.StatusOK, `{"status":"ready"}`},
		{hub.Health{Degraded: []string{"data-2 has no master"}}, http.StatusOK, `{"status":"degraded","degraded":["data-2 has no master"]}`},
		{hub.Health{Down: []string{"no pub/sub", "OOM"}, Degraded: []string{"more"}}, http.StatusServiceUnavailable, "no pub/sub; OOM"},
	} {
		w.hub.health = tc.health
		r := w.get("/readyz")
		if r.status != tc.status || !strings.Contains(string(r.body), tc.says) {
			t.Errorf("%+v: %d %s, want %d and %s", tc.health, r.status, r.body, tc.status, tc.says)
		}
	}
}
