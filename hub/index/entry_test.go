package index

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

const (
	pidA = hub.ProcessID("AAAAAAAAAAA")
	pidB = hub.ProcessID("-_BBBBBBBBB")
)

func TestHoldsRoundTrip(t *testing.T) {
	for _, tc := range []struct {
		name     string
		services []hub.ServiceCount
		written  string
		read     []hub.ServiceCount
	}{
		{"none", nil, "", nil},
		{"no service", []hub.ServiceCount{{Count: 2}}, "*2", []hub.ServiceCount{{Count: 2}}},
		{
			"sorted by name",
			[]hub.ServiceCount{{Service: "go", Count: 1}, {Service: "chess", Count: 12}},
			"chess*12,go*1",
			[]hub.ServiceCount{{Service: "chess", Count: 12}, {Service: "go", Count: 1}},
		},
		{"counts below 1 are nothing", []hub.ServiceCount{{Service: "a"}, {Service: "b", Count: 1}, {Service: "c", Count: -1}}, "b*1", []hub.ServiceCount{{Service: "b", Count: 1}}},
		{"only counts below 1", []hub.ServiceCount{{Service: "a"}}, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := string(appendHolds([]byte("x"), tc.services))
			if got != "x"+tc.written {
				t.Fatalf("wrote %q, want %q", got, "x"+tc.written)
			}
			if diff := cmp.Diff(tc.read, parseHolds(tc.written)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendHoldsLeavesItsArgumentAlone(t *testing.T) {
	services := []hub.ServiceCount{{Service: "b", Count: 1}, {Service: "a", Count: 1}}
	appendHolds(nil, services)
	if services[0].Service != "b" {
		t.Error("the caller's slice was sorted")
	}
}

func TestEntriesPassOverWhatIsMalformed(t *testing.T) {
	for _, tc := range []struct {
		value string
		want  map[hub.ProcessID]string
	}{
		{"", map[hub.ProcessID]string{}},
		{string(pidA) + "=*1", map[hub.ProcessID]string{pidA: "*1"}},
		{string(pidA) + "=*1 " + string(pidB) + "=a*1,b*2", map[hub.ProcessID]string{pidA: "*1", pidB: "a*1,b*2"}},
		{"junk " + string(pidA) + "=*1  =", map[hub.ProcessID]string{pidA: "*1"}},
		{string(pidA) + "= " + string(pidA) + " short=*1", map[hub.ProcessID]string{}},
	} {
		if diff := cmp.Diff(tc.want, maps.Collect(entries(tc.value))); diff != "" {
			t.Errorf("%q: %s", tc.value, diff)
		}
	}
}

func TestHoldsAny(t *testing.T) {
	for _, tc := range []struct {
		holds    string
		services []hub.Service
		want     bool
	}{
		{"*1", nil, true},
		{"chess*1,go*2", nil, true},
		{"chess*1,go*2", []hub.Service{"go"}, true},
		{"chess*1,go*2", []hub.Service{"poker", "chess"}, true},
		{"chess*1,go*2", []hub.Service{"g", "chess2"}, false},
		{"*1", []hub.Service{"chess"}, false},
	} {
		if got := holdsAny(tc.holds, tc.services); got != tc.want {
			t.Errorf("holdsAny(%q, %q) = %t", tc.holds, tc.services, got)
		}
	}
}

// FuzzEntries checks that no value in Redis, whoever wrote it, can do more
// than be passed over.
func FuzzEntries(f *testing.F) {
	f.Add(string(pidA) + "=*1 " + string(pidB) + "=a*1,b*2")
	f.Add("  = *,, ==")
	f.Fuzz(func(t *testing.T, value string) {
		for pid, holds := range entries(value) {
			if len(pid) != hub.ProcessIDLen || holds == "" {
				t.Fatalf("%q yields %q=%q", value, pid, holds)
			}
			for _, s := range parseHolds(holds) {
				if s.Count < 1 || !holdsAny(holds, []hub.Service{s.Service}) {
					t.Fatalf("%q: count %d of %q", holds, s.Count, s.Service)
				}
			}
		}
	})
}
