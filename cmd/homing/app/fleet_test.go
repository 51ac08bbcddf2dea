package app

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runFleet runs a command of homing fleet.
func runFleet(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), append([]string{"fleet"}, args...), &out, &errs)
	return out.String(), errs.String(), status
}

func TestFleetRules(t *testing.T) {
	out, errs, status := runFleet(t, "rules", "../../../deploy/fleet/evening.yaml", "--at", "2026-06-05T21:30:00+02:00")
	if status != 0 || !strings.Contains(out, "10 to 40  schedule, evening: 19:00 to 23:00 Europe/Berlin") {
		t.Errorf("%d: %s%s", status, out, errs)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("clusters: [{cluster: game, max: 2, node: {players: 1}, min_ready: 3}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := runFleet(t, "rules", bad); status == 0 || !strings.Contains(errs, "bad.yaml: clusters[0] (game): ") || !strings.Contains(errs, "min_ready is 3") {
		t.Errorf("%d: %s%s", status, out, errs)
	}
}

// TestFleetSimulate plays the day that is shipped, and finds the same in the table, the
// JSON and the page.
func TestFleetSimulate(t *testing.T) {
	dir := "../../../deploy/fleet/"
	page := filepath.Join(t.TempDir(), "day.html")
	out, errs, status := runFleet(t, "simulate", dir+"day.ndjson", dir+"steady.yaml", dir+"lean.yaml", "--html", page)
	if status != 0 || !strings.Contains(out, "static fleet") || strings.Contains(out, "Decisions of") {
		t.Errorf("%d: %s%s", status, out, errs)
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("Decisions of lean")) {
		t.Errorf("the page: %v", err)
	}
	out, errs, status = runFleet(t, "simulate", dir+"day.ndjson", dir+"steady.yaml", "--json")
	var figures map[string]float64
	if err := json.Unmarshal([]byte(out), &figures); status != 0 || err != nil {
		t.Fatalf("%d, %v: %s%s", status, err, out, errs)
	}
	if figures["node_hours"] <= figures["perfect_node_hours"] || figures["node_hours"] >= figures["static_node_hours"] || figures["removed_in_use"] != 0 {
		t.Errorf("%v", figures)
	}
}

// TestFleetTrace makes the day that is shipped.
func TestFleetTrace(t *testing.T) {
	shipped, err := os.ReadFile("../../../deploy/fleet/day.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	if out, _, _ := runFleet(t, "trace"); out != string(shipped) {
		t.Error("the trace that is shipped is not what homing fleet trace makes: homing fleet trace > deploy/fleet/day.ndjson")
	}
	if _, errs, status := runFleet(t, "trace", "--peak", "25"); status == 0 || !strings.Contains(errs, "--peak") {
		t.Errorf("%d: %s", status, errs)
	}
}
