package host

import (
	"sync"
	"sync/atomic"

	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room/asks"
)

// table is the rooms that run here, and whether more may come.
type table struct {
	met                *metrics
	maxRooms, maxSeats int

	taken atomic.Int64 // seats of the rooms here that are reserved or taken

	mu       sync.Mutex
	rooms    map[string]*running
	draining bool // no room is opened any more
	over     bool // none is taken in any more
}

// find returns the room of that id that runs here; nil: none does.
func (t *table) find(id string) *running {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rooms[id]
}

// all lists the rooms.
func (t *table) all() []*running {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*running, 0, len(t.rooms))
	for _, r := range t.rooms {
		all = append(all, r)
	}
	return all
}

// add enters r, which is this process's.
func (t *table) add(r *running) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return &call.RefusalError{Code: asks.CodeTooMany, Detail: "the process has stopped"}
	}
	t.rooms[r.id] = r
	t.met.rooms.Set(float64(len(t.rooms)))
	return nil
}

// remove takes r out, unless another room of that id is there. r is closed: how many
// seats it has changes no more.
func (t *table) remove(r *running) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rooms[r.id] == r {
		delete(t.rooms, r.id)
	}
	t.taken.Add(-int64(r.shown.Load().taken))
	t.met.rooms.Set(float64(len(t.rooms)))
}

// reserved is how many seats of the rooms here are reserved or taken.
func (t *table) reserved() int { return int(t.taken.Load()) }

// fits reports whether so many seats more may be given.
func (t *table) fits(users int) bool { return t.reserved()+users <= t.maxSeats }

// takesRooms reports whether one more room may be opened.
func (t *table) takesRooms() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.draining && len(t.rooms) < t.maxRooms
}

// mayOpen is why no room with so many seats taken can be opened; nil: one can.
func (t *table) mayOpen(users int) error {
	t.mu.Lock()
	rooms, draining := len(t.rooms), t.draining
	t.mu.Unlock()
	switch {
	case draining:
		return &call.RefusalError{Code: asks.CodeTooMany, Detail: "the process stops, or drains"}
	case rooms >= t.maxRooms || !t.fits(users):
		return &call.RefusalError{Code: asks.CodeTooMany}
	}
	return nil
}

// drain has no room be opened any more.
func (t *table) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = true
}

// reopen has rooms be opened again.
func (t *table) reopen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining = false
}

// drains reports whether the process is being emptied.
func (t *table) drains() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.draining
}

// count is how many rooms there are.
func (t *table) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.rooms)
}

// close has no room be taken in any more.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}
