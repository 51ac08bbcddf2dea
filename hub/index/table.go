package index

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/homing/homing/hub"
)

// table is what was known of the processes at one moment. It is never changed
// once others can see it.
type table struct {
	live   []hub.Process              // in the order of the set of processes
	slots  map[hub.ProcessID]int32    // live processes by id, indexes of live
	dead   map[hub.ProcessID]struct{} // known to hold no lease
	loaded time.Time                  // when the leases were asked for
	steady bool                       // a lease missing then meant that its process is dead
}

func newTable(loaded time.Time, steady bool) *table {
	return &table{
		slots:  make(map[hub.ProcessID]int32),
		dead:   make(map[hub.ProcessID]struct{}),
		loaded: loaded,
		steady: steady,
	}
}

func (t *table) addLive(p hub.Process) {
	if _, dup := t.slots[p.ID]; dup {
		return
	}
	t.slots[p.ID] = int32(len(t.live)) //nolint:gosec // a few thousand at most
	t.live = append(t.live, p)
	delete(t.dead, p.ID)
}

// known tells whether t says anything about pid.
func (t *table) known(pid hub.ProcessID) bool {
	if _, live := t.slots[pid]; live {
		return true
	}
	_, dead := t.dead[pid]
	return dead
}

// clone returns a copy of t that may be changed until it is shown.
func (t *table) clone() *table {
	c := newTable(t.loaded, t.steady)
	for _, p := range t.live {
		c.addLive(p)
	}
	maps.Copy(c.dead, t.dead)
	return c
}

// nextTable judges the processes in ids, whose leases (in the same order, ""
// for none) were just read, in the light of prev, the table before; nil at
// first. While the lease shard is not steady, a missing lease proves nothing,
// because nobody could renew: then only those known to be dead stay so, and
// the live ones stay live even if the shard has lost all trace of them.
func nextTable(prev *table, ids []hub.ProcessID, leases []string, loaded time.Time, steady bool) *table {
	t := newTable(loaded, steady)
	for i, id := range ids {
		switch {
		case leases[i] != "":
			t.addLive(parseLease(id, leases[i]))
		case steady || prev.saysDead(id):
			t.dead[id] = struct{}{}
		default:
			t.addLive(prev.describe(id))
		}
	}
	if !steady && prev != nil {
		for _, p := range prev.live {
			t.addLive(p)
		}
		for pid := range prev.dead {
			if !t.known(pid) {
				t.dead[pid] = struct{}{}
			}
		}
	}
	return t
}

func (t *table) saysDead(pid hub.ProcessID) bool {
	if t == nil {
		return false
	}
	_, dead := t.dead[pid]
	return dead
}

// describe returns what is known of a process that is taken to live.
func (t *table) describe(pid hub.ProcessID) hub.Process {
	if t != nil {
		if slot, live := t.slots[pid]; live {
			return t.live[slot]
		}
	}
	return hub.Process{ID: pid}
}

// parseLease reads a lease's value. The lease stands whatever it says, so a
// description that cannot be read only leaves the process without one.
func parseLease(id hub.ProcessID, lease string) hub.Process {
	var p hub.Process
	if json.Unmarshal([]byte(lease), &p) != nil || p.ID != id {
		return hub.Process{ID: id}
	}
	return p
}
