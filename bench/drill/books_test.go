package drill

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/bench/ledger"
)

// whole are books of a world in which everything is in order: of 115 users in
// envelopes workers took 108, 10 of whom they missed; 5 were taken back, 2 given
// up.
func whole() figures {
	f := newFigures()
	f.processes = map[string]float64{"API server 0": 1, "worker 0": 2}
	f.sums = map[string]float64{
		sentUsers: 115, takenUsers: 108, takenBack: 5, givenUpUsers: 2, givenUpReason: 2,
		missedUsers: 10, returnedUsers: 9, returnsLost: 1, handedOver: 11, unreached: 5, writtenOut: 98,
	}
	return f
}

func TestBooksBalance(t *testing.T) {
	opened := newFigures()
	opened.processes = whole().processes
	if got := opened.compare(whole(), nil, 98); got != balanced {
		t.Errorf("compare = %s", got)
	}
	doubtful := whole()
	doubtful.sums[takenUsers] += 2 // one may have taken what was given up
	if got := opened.compare(doubtful, nil, 98); got != balanced {
		t.Errorf("given up, and taken: %s", got)
	}
	doubtful.sums[givenUpUsers]++ // as many as can have been taken
	if got := opened.compare(doubtful, nil, 98); got != balanced {
		t.Errorf("given up, and taken: %s", got)
	}
	for name, want := range map[string]string{
		sentUsers: "off by 1: sent", takenUsers: "off by -1: sent",
		missedUsers: "off by 1: missed", returnedUsers: "off by -1: missed", returnsLost: "off by -1: missed",
		handedOver: "off by -1: given back", unreached: "off by -1: given back", givenUpReason: "off by 1: given back", takenBack: "off by -1: sent",
	} {
		now := whole()
		if now.sums[name]++; name == takenUsers || name == takenBack {
			now.sums[name] += now.sums[givenUpUsers] // see doubtful
		}
		if got := opened.compare(now, nil, 98); !strings.HasPrefix(got, want) {
			t.Errorf("one more %s: %s", name, got)
		}
		if got := now.compare(now, nil, 0); got != balanced {
			t.Errorf("nothing happened: %s", got)
		}
	}
	if got := opened.compare(whole(), nil, 99); !strings.HasPrefix(got, "off by 1: read by clients 99") {
		t.Errorf("read more than was written: %s", got)
	}
}

func TestBooksNotAvailable(t *testing.T) {
	opened := whole()
	replaced, older := whole(), whole()
	replaced.processes["worker 0"] = 3
	delete(older.sums, sentUsers)
	for name, c := range map[string]struct {
		now  figures
		err  error
		want string
	}{
		"replaced":  {replaced, nil, "not available: processes have ended, and their books with them: worker 0"},
		"gone":      {newFigures(), nil, "not available: processes have ended, and their books with them: API server 0, worker 0"},
		"older":     {older, nil, "not available: there is no metric " + sentUsers},
		"no answer": {whole(), errors.New("nobody there"), "not available: nobody there"},
	} {
		if got := opened.compare(c.now, c.err, 0); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestReadBooks(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`
# TYPE process_start_time_seconds gauge
process_start_time_seconds 7
process_start_time_seconds{worker="0"} 8
process_start_time_seconds{worker="1"} 9
# TYPE homing_front_targets_total counter
homing_front_targets_total{worker="0"} 3
homing_front_targets_total{worker="1"} 4
# TYPE homing_notify_unreached_total counter
homing_notify_unreached_total{reason="stopped"} 1
homing_notify_unreached_total{reason="not_back"} 2
`))
	}))
	f := newFigures()
	for _, whose := range []string{"the front", "another"} {
		if err := f.read(t.Context(), whose, srv.URL); err != nil {
			t.Fatal(err)
		}
	}
	if f.sums[takenUsers] != 14 || f.sums[unreached] != 6 || f.sums[unreached+"/not_back"] != 4 {
		t.Errorf("sums %v", f.sums)
	}
	if p := f.processes; len(p) != 6 || p["the front"] != 7 || p["worker 1"] != 9 || p["another, worker 1"] != 9 {
		t.Errorf("processes %v", p)
	}
	srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := f.read(ctx, "the front", srv.URL); err == nil || !strings.HasPrefix(err.Error(), "the front does not tell") {
		t.Errorf("read = %v", err)
	}
}

func TestWhatIsGivenUpIsCounted(t *testing.T) {
	check := func(counted int) func(d *drill) {
		return func(d *drill) {
			b := books{journal: d.journal, givenUp: counted}
			b.checkGivenUp(ledger.Entry{GivenUp: 30})
		}
	}
	broke(t, "", check(10))
	broke(t, "the servers counted 9 users", check(9))
}
