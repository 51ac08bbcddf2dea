package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// answer is what one call got: of a backend at the API, of a probe at a
// /readyz, or of a player who connects.
type answer struct {
	what   string // the kind of call
	at     time.Time
	took   time.Duration
	status int  // of HTTP; 0: none came
	wait   bool // the answer said when to try again
	body   string
	err    error // why none came
}

func (a answer) ok() bool { return a.status == http.StatusOK }

// parse reads a JSON answer, whatever it is.
func (a answer) parse(v any) error { return json.Unmarshal([]byte(a.body), v) }

// until is when the caller knew.
func (a answer) until() time.Time { return a.at.Add(a.took) }

// String says what came back, for a message.
func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %v after %v", a.what, a.err, a.took.Round(time.Millisecond))
	}
	return fmt.Sprintf("%s: HTTP %d %s", a.what, a.status, a.body[:min(len(a.body), 400)])
}

// watch makes calls at a fixed pace, until it is ended, and keeps their answers.
type watch struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	answers []answer
}

// watching starts a watch: call is made every so often, one after another.
func watching(ctx context.Context, every time.Duration, call func(ctx context.Context, n int) answer) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel}
	w.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			w.add(call(context.WithoutCancel(ctx), n))
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return w
}

func (w *watch) add(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = append(w.answers, a)
}

// soFar returns the answers up to now.
func (w *watch) soFar() []answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.answers)
}

// end stops calling and returns all answers. It may be called again.
func (w *watch) end() []answer {
	w.cancel()
	w.running.Wait()
	return w.soFar()
}

// between returns the answers to calls made in a span of time.
func between(answers []answer, from, to time.Time) []answer {
	return slices.DeleteFunc(slices.Clone(answers), func(a answer) bool { return a.at.Before(from) || !a.at.Before(to) })
}

// during returns the answers to calls that were made and answered in a span of
// time.
func during(answers []answer, from, to time.Time) []answer {
	return slices.DeleteFunc(between(answers, from, to), func(a answer) bool { return !a.until().Before(to) })
}

// slowAnswer is an answer that was late, though it was the one wanted.
const slowAnswer = time.Second

// back tells how long after a fault calls went wrong, or took long, for the
// last time before another fault.
func back(answers []answer, fault, next time.Time) time.Duration {
	last := fault
	for _, a := range answers {
		hurt := a.until().After(fault) && a.at.Before(next)
		if hurt && (!a.ok() || a.took > slowAnswer) && a.until().After(last) {
			last = a.until()
		}
	}
	return last.Sub(fault)
}

// count counts the answers by what came.
func count(answers []answer) map[string]int {
	n := make(map[string]int)
	for _, a := range answers {
		if a.status == 0 {
			n["no answer"]++
		} else {
			n[fmt.Sprintf("HTTP %d", a.status)]++
		}
	}
	return n
}
