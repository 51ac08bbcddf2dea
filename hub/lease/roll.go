package lease

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/homing/homing/hub"
)

// Roll is what was known of the processes at one moment. It never changes once
// others can see it.
type Roll struct {
	live    []hub.Process
	slots   map[hub.ProcessID]int32    // live processes by id, indexes of live
	dead    map[hub.ProcessID]struct{} // declared dead, or left
	unsure  map[hub.ProcessID]struct{} // live processes whose lease does not stand
	ended   map[hub.ProcessID]struct{} // of the live processes, those that have ended all the same
	unswept []hub.ProcessID            // the dead that still stand in the set of processes
	loaded  time.Time                  // when the leases were asked for
	steady  bool                       // every live process could renew its lease then
}

// NewRoll returns an empty roll, for Add. loaded is when its leases were read,
// and steady whether a process that could not be found was dead.
func NewRoll(loaded time.Time, steady bool) *Roll {
	return &Roll{
		slots:  make(map[hub.ProcessID]int32),
		dead:   make(map[hub.ProcessID]struct{}),
		unsure: make(map[hub.ProcessID]struct{}),
		ended:  make(map[hub.ProcessID]struct{}),
		loaded: loaded,
		steady: steady,
	}
}

// Add enters a live process, unless it is there. Only before others see r.
func (r *Roll) Add(p hub.Process) {
	if _, dup := r.slots[p.ID]; dup {
		return
	}
	r.slots[p.ID] = int32(len(r.live))
	r.live = append(r.live, p)
	delete(r.dead, p.ID)
}

// Len is the number of live processes.
func (r *Roll) Len() int { return len(r.live) }

// At returns the live process with the slot given.
func (r *Roll) At(slot int) *hub.Process { return &r.live[slot] }

// Slot returns the slot of p, and whether p lives. Slots count from 0 and are
// this roll's own.
func (r *Roll) Slot(p hub.ProcessID) (slot int32, live bool) {
	slot, live = r.slots[p]
	return slot, live
}

// Lives reports whether p is taken to live.
func (r *Roll) Lives(p hub.ProcessID) bool {
	_, live := r.slots[p]
	return live
}

// Dead reports whether p was declared dead or left.
func (r *Roll) Dead(p hub.ProcessID) bool {
	if r == nil {
		return false
	}
	_, dead := r.dead[p]
	return dead
}

// Ended reports whether p has ended, as whoever started it says. For a while it counts
// as alive still: what is sent to it is kept, and handed over when it is declared dead.
func (r *Roll) Ended(p hub.ProcessID) bool {
	if r == nil {
		return false
	}
	_, ended := r.ended[p]
	return ended
}

// Unsure reports whether p is taken to live although its lease does not stand:
// it has not been asked for long enough.
func (r *Roll) Unsure(p hub.ProcessID) bool {
	_, unsure := r.unsure[p]
	return unsure
}

// Known reports whether r says anything about p.
func (r *Roll) Known(p hub.ProcessID) bool { return r.Lives(p) || r.Dead(p) }

// Unswept lists the dead that still stand in the set of processes. The caller
// must not change it.
func (r *Roll) Unswept() []hub.ProcessID { return r.unswept }

// Steady reports whether every live process could renew its lease when r was
// read, as far as the reader could see.
func (r *Roll) Steady() bool { return r.steady }

// Gone reports whether process p, which lived at the time given, is known to
// live no more: r was read after that time, and it is not among the living.
func (r *Roll) Gone(p hub.ProcessID, since time.Time) bool {
	return r != nil && r.steady && !r.loaded.Before(since) && !r.Lives(p)
}

// Since lists the processes that live in r and did not in before, and those that
// did and do not any more: they were declared dead, or left. With before nil all
// of r are born.
func (r *Roll) Since(before *Roll) (born []hub.Process, gone []hub.ProcessID) {
	for i := range r.live {
		if before == nil || !before.Lives(r.live[i].ID) {
			born = append(born, r.live[i])
		}
	}
	if before == nil {
		return born, nil
	}
	for i := range before.live {
		if id := before.live[i].ID; !r.Lives(id) {
			gone = append(gone, id)
		}
	}
	return born, gone
}

// with returns a copy of r that may be changed until it is shown.
func (r *Roll) with() *Roll {
	c := NewRoll(r.loaded, r.steady)
	c.live, c.slots = slices.Clone(r.live), maps.Clone(r.slots)
	c.dead, c.unsure, c.unswept = maps.Clone(r.dead), maps.Clone(r.unsure), r.unswept
	c.ended = maps.Clone(r.ended)
	return c
}

// without returns a copy of r in which p is dead.
func (r *Roll) without(p hub.ProcessID) *Roll {
	c := NewRoll(r.loaded, r.steady)
	c.dead, c.unsure, c.unswept = maps.Clone(r.dead), r.unsure, r.unswept
	c.ended = r.ended
	for i := range r.live {
		if r.live[i].ID != p {
			c.Add(r.live[i])
		}
	}
	c.dead[p] = struct{}{}
	c.unswept = append(slices.Clip(c.unswept), p)
	return c
}

// describe returns what is known of a process that is taken to live.
func (r *Roll) describe(p hub.ProcessID) hub.Process {
	if r != nil {
		if slot, live := r.slots[p]; live {
			return r.live[slot]
		}
	}
	return hub.Process{ID: p}
}

// parseLease reads a lease's value. The lease stands whatever it says, so a
// description that cannot be read only leaves the process without one.
func parseLease(id hub.ProcessID, lease string) hub.Process {
	var p hub.Process
	if json.Unmarshal([]byte(strings.TrimLeft(lease, vouched+ended)), &p) != nil || p.ID != id {
		return hub.Process{ID: id}
	}
	return p
}
