package master

import (
	"strings"
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

const (
	// endedKept is how long a worker's end is passed on to those started after
	// it: longer than a worker that keeps dying is waited for.
	endedKept = time.Minute
	// maxEnded bounds how many are passed on.
	maxEnded = 64
)

// ended remembers the workers that have ended lately. The master has it from
// the kernel, so there is nothing to doubt: their successors have them declared
// dead at once, where the hub would first have to find out.
type ended struct {
	mu   sync.Mutex
	list []death // oldest first
}

type death struct {
	process hub.ProcessID
	at      time.Time
}

func (e *ended) add(p hub.ProcessID, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, death{p, now})
	e.list = e.list[max(0, len(e.list)-maxEnded):]
}

// obituary lists who has ended lately, for the environment of a worker.
func (m *Master) obituary(now time.Time) string {
	m.ended.mu.Lock()
	defer m.ended.mu.Unlock()
	var ids []string
	for _, d := range m.ended.list {
		if now.Sub(d.at) < endedKept {
			ids = append(ids, string(d.process))
		}
	}
	return strings.Join(ids, ",")
}
