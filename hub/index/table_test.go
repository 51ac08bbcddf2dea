package index

import (
	"slices"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

func TestNextTable(t *testing.T) {
	const live, dead, unsure, fresh = hub.ProcessID("live"), hub.ProcessID("dead"), hub.ProcessID("unsure"), hub.ProcessID("fresh")
	now := time.Now()
	before := newTable(now, true)
	before.addLive(hub.Process{ID: live, Node: "n1"})
	before.addLive(hub.Process{ID: unsure, Node: "n2"})
	before.dead[dead] = struct{}{}
	for _, tc := range []struct {
		name   string
		prev   *table
		ids    []hub.ProcessID
		leases []string
		steady bool
		live   []hub.ProcessID
		dead   []hub.ProcessID
	}{
		{"first, steady", nil, []hub.ProcessID{live, dead}, []string{`{"id":"live"}`, ""}, true, []hub.ProcessID{live}, []hub.ProcessID{dead}},
		{"first, not steady: a missing lease proves nothing", nil, []hub.ProcessID{live, dead}, []string{`{"id":"live"}`, ""}, false, []hub.ProcessID{live, dead}, nil},
		{"a lease lapsed", before, []hub.ProcessID{live, unsure, dead}, []string{`{"id":"live"}`, "", ""}, true, []hub.ProcessID{live}, []hub.ProcessID{unsure, dead}},
		{"nobody could renew", before, []hub.ProcessID{live, unsure, dead}, []string{"", "", ""}, false, []hub.ProcessID{live, unsure}, []hub.ProcessID{dead}},
		{"the shard came back empty", before, nil, nil, false, []hub.ProcessID{live, unsure}, []hub.ProcessID{dead}},
		{"and stayed so", before, nil, nil, true, nil, nil},
		{"the dead came back", before, []hub.ProcessID{dead}, []string{`{"id":"dead"}`}, true, []hub.ProcessID{dead}, nil},
		{"a description that cannot be read", before, []hub.ProcessID{fresh}, []string{"{"}, true, []hub.ProcessID{fresh}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := nextTable(tc.prev, tc.ids, tc.leases, now, tc.steady)
			for _, pid := range tc.live {
				if slot, ok := got.slots[pid]; !ok || got.live[slot].ID != pid {
					t.Errorf("%s is not live", pid)
				}
			}
			for _, pid := range tc.dead {
				if _, ok := got.dead[pid]; !ok {
					t.Errorf("%s is not dead", pid)
				}
			}
			if len(got.live) != len(tc.live) || len(got.slots) != len(tc.live) || len(got.dead) != len(tc.dead) {
				t.Errorf("live %v, dead %v", got.slots, got.dead)
			}
		})
	}
	carried := nextTable(before, []hub.ProcessID{live}, []string{""}, now, false)
	if i := slices.IndexFunc(carried.live, func(p hub.Process) bool { return p.ID == live && p.Node == "n1" }); i < 0 {
		t.Error("a process that could not renew lost its description")
	}
}
