package roster

import (
	"context"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

const (
	// unfitFresh is for how long it holds which processes are unfit.
	unfitFresh   = time.Second
	unfitTimeout = time.Second
)

// unfit is what was found last.
type unfit struct {
	mu        sync.Mutex
	at        time.Time
	processes map[hub.ProcessID]bool
}

// Unfit are the processes of nodes that are red or drain: they are to get no rooms. It
// is true to within a second, and blocks for a round trip if it must ask. While Redis
// does not answer it is what was true before. The caller must not change it.
func (r *Roster) Unfit(ctx context.Context) map[hub.ProcessID]bool {
	u := &r.unfit
	u.mu.Lock()
	defer u.mu.Unlock()
	if time.Since(u.at) < unfitFresh {
		return u.processes
	}
	ctx, cancel := context.WithTimeout(ctx, unfitTimeout)
	defer cancel()
	all, _, err := r.members(ctx)
	u.at = time.Now()
	if err != nil {
		return u.processes
	}
	u.processes = make(map[hub.ProcessID]bool)
	for i := range all {
		if s := all[i].State; s == fleet.Red || s == fleet.Draining {
			for _, p := range all[i].processes {
				u.processes[p] = true
			}
		}
	}
	return u.processes
}
