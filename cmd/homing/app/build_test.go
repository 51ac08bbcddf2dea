package app

import (
	"runtime"
	"strings"
	"testing"
)

func TestEveryRegistrySaysWhatWasBuilt(t *testing.T) {
	families, err := newRegistry(nil).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "homing_build_info" {
			continue
		}
		labels := map[string]string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["go_version"] != runtime.Version() || labels["version"] == "" || labels["revision"] == "" || f.GetMetric()[0].GetGauge().GetValue() != 1 {
			t.Errorf("%v", f)
		}
		return
	}
	t.Error("no homing_build_info")
}

func TestVersion(t *testing.T) {
	code, stdout, _ := start(t, "--version")
	if parts := strings.Fields(stdout); code != 0 || len(parts) != 3 || parts[2] != runtime.Version() {
		t.Errorf("status %d: %q; want version, revision and Go's release", code, stdout)
	}
}
