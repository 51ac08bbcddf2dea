package front

import (
	"context"
	"sync"
	"sync/atomic"
)

// crew does jobs that may block for a while, beside the loop: each on a goroutine of its
// own, no more at a time than it has room for. It is safe for concurrent use.
type crew struct {
	jobs chan func(context.Context) // has room for all that are under way
	busy atomic.Int32
}

func newCrew(most int) *crew { return &crew{jobs: make(chan func(context.Context), most)} }

// take has job done, or reports false when as many as may be are under way. It does not
// block.
func (w *crew) take(job func(context.Context)) bool {
	if int(w.busy.Add(1)) > cap(w.jobs) {
		w.busy.Add(-1)
		return false
	}
	w.jobs <- job
	return true
}

// run does jobs until ctx ends, and waits for those under way, whose context ends then.
// It blocks.
func (w *crew) run(ctx context.Context) {
	var underway sync.WaitGroup
	defer underway.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-w.jobs:
			underway.Go(func() {
				defer w.busy.Add(-1)
				job(ctx)
			})
		}
	}
}
