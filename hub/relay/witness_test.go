package relay

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

// TestQuestionsBeginAnew: an answer that was lost is not held against a process
// that nobody has asked for a while.
func TestQuestionsBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newRelay(Config{}, hub.NewKeys(""), "judge", modelLog, prometheus.NewRegistry()).Witness()
		const p = hub.ProcessID("worker")
		first := time.Now()
		for range 3 { // none is answered: it owes the first
			w.Ask(p)
			if owes := w.Unanswered(p); !owes.Equal(first) {
				t.Fatalf("owes an answer since %v, want %v", owes, first)
			}
			time.Sleep(askAfter)
		}
		w.receive(&packet{kind: kindHere, from: p, nonce: 1 << 40})
		if owes := w.Unanswered(p); !owes.IsZero() {
			t.Errorf("owes an answer since %v, though it has answered", owes)
		}
		w.Ask(p) // the answer to this one is lost
		time.Sleep(askedAnew + time.Second)
		again := time.Now()
		w.Ask(p)
		if owes := w.Unanswered(p); !owes.Equal(again) {
			t.Errorf("owes an answer since %v, want %v: nobody had asked for a while", owes, again)
		}
	})
}
