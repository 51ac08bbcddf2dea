package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
)

// fakeNodes is a fleet of two nodes.
type fakeNodes struct {
	requests []fleet.Request
	waits    []time.Duration
	drained  []fleet.Drain
	undrains []string
	err      error
}

var fleetAt = time.Date(2026, 6, 5, 19, 0, 0, 0, time.UTC)

func (f *fakeNodes) AssignWithin(_ context.Context, q fleet.Request, wait time.Duration) (fleet.Assignment, error) {
	f.requests, f.waits = append(f.requests, q), append(f.waits, wait)
	if q.Region == "no where" {
		return fleet.Assignment{}, hub.Invalid("region", "%q: no name", q.Region)
	}
	return fleet.Assignment{Node: "a:1", Endpoint: "a:1", Ticket: "t.t", Expires: fleetAt}, f.err
}

func (f *fakeNodes) Snapshot(context.Context) (fleet.Snapshot, error) {
	d := fleet.Drain{ID: "d", Deadline: fleetAt, Since: fleetAt, Why: "update"}
	return fleet.Snapshot{At: fleetAt, Nodes: []fleet.Node{
		{ID: "[::1]:1", Endpoint: "[::1]:1", Cluster: "game", State: fleet.Draining, Capacity: 100, Load: fleet.Load{Connections: 60, Rooms: 1}, Drain: &d, Progress: &fleet.Progress{ID: "d", Told: 2, Left: 60, Rooms: 1}},
		{ID: "b:1", Endpoint: "b:1", Cluster: "game", State: fleet.Ready, Capacity: 100, Labels: map[string]string{"zone": "a"}},
		{ID: "game-1.example.com:8081", Endpoint: "game-1.example.com:8081", Cluster: "lobby", State: fleet.Ready}, // of the description's examples
	}}, f.err
}

func (f *fakeNodes) Drain(_ context.Context, by roster.Fence, node string, d fleet.Drain) error {
	if by != (roster.Fence{}) || node == "b:1" {
		return roster.ErrNoNode
	}
	f.drained = append(f.drained, d)
	return f.err
}

func (f *fakeNodes) Undrain(_ context.Context, _ roster.Fence, node string) error {
	f.undrains = append(f.undrains, node)
	return f.err
}

func TestAssign(t *testing.T) {
	w := newWorld(t)
	out := w.post("/nodes/assign", `{"id":"login-1","region":"eu","version":"1.4","players":3,"strategy":"pack","wait_ms":2000}`)
	if out.status != 200 || string(out.body) != `{"id":"login-1","node":"a:1","endpoint":"a:1","ticket":"t.t","expires":"2026-06-05T19:00:00Z"}` {
		t.Fatalf("%d %s", out.status, out.body)
	}
	want := fleet.Request{ID: "backend/login-1", Region: "eu", Version: "1.4", Players: 3, Strategy: fleet.Pack}
	if got := w.nodes.requests[0]; got != want || w.nodes.waits[0] != 2*time.Second {
		t.Errorf("%+v, %v", got, w.nodes.waits)
	}
	wantOK(t, w.post("/v1/nodes/assign", `{"id":null}`))
	if got := w.nodes.requests[1]; got.Players != 1 || !strings.HasPrefix(got.ID, "backend/") || len(got.ID) < 20 {
		t.Errorf("%+v: want an id of its own", got)
	}
	// It waits no longer than the server lets a request take.
	wantOK(t, w.post("/nodes/assign", `{"wait_ms":10000}`))
	if got := w.nodes.waits[2]; got > 9500*time.Millisecond || got < 8*time.Second {
		t.Errorf("waits for %v of a request's 10 s", got)
	}
	for body, code := range map[string]Code{
		`{"wait_ms":10001}`: CodeInvalidField, `{"wait_ms":-1}`: CodeInvalidField, `{"players":0}`: CodeInvalidField,
		`{"id":"` + strings.Repeat("x", 65) + `"}`: CodeInvalidField, `{"region":"no where"}`: CodeInvalidField,
		`{"user":"ann"}`: CodeUnknownField, `{"players":"1"}`: CodeWrongType,
	} {
		wantCode(t, w.send(w.request(http.MethodPost, "/nodes/assign", body)), code)
	}
	w.nodes.err = roster.ErrOther
	wantCode(t, w.post("/nodes/assign", `{"id":"login-1"}`), CodeIdempotencyMismatch)
	w.nodes.err = roster.ErrBusy
	wantCode(t, w.post("/nodes/assign", `{}`), CodeUnavailable)
}

func TestNodes(t *testing.T) {
	w := newWorld(t)
	path := "/nodes/" + url.PathEscape("[::1]:1")
	out := w.get("/nodes")
	if out.status != 200 || !strings.Contains(string(out.body), `"labels":{"zone":"a"}`) {
		t.Errorf("%d %s", out.status, out.body)
	}
	if out := w.get(path); out.status != 200 || !strings.Contains(string(out.body), `"progress":{"id":"d","told":2,"left":60,"rooms":1}`) {
		t.Errorf("%d %s", out.status, out.body)
	}
	wantCode(t, w.get("/nodes/c:1"), CodeNodeNotFound)

	if out := w.post(path+"/drain", `{"rate":5,"deadline_ms":60000,"why":"x","dry_run":true}`); out.status != 200 ||
		!strings.Contains(string(out.body), `"forecast":{"connections":60,"rooms":1,"per_second":5,"seconds":12,"closed":0,"to":[{"node":"b:1","connections":60,"per_second":5,"free":100,"unbounded":false,"fits":true}],"fits":true`) {
		t.Errorf("%d %s", out.status, out.body)
	}
	if len(w.nodes.drained) != 0 {
		t.Error("a dry run has ordered a drain")
	}
	wantOK(t, w.post(path+"/drain", `{"id":"d2","rate":5,"deadline_ms":60000,"why":"x"}`))
	wantOK(t, w.post(path+"/drain", `{"deadline":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`"}`))
	wantOK(t, w.post(path+"/drain", `{}`))
	if d := w.nodes.drained; len(d) != 3 || d[0].ID != "d2" || d[0].Rate != 5 || d[0].Why != "x" || !d[0].Deadline.Equal(fleetAt.Add(time.Minute)) ||
		d[1].ID == "" || d[1].Deadline.Sub(fleetAt) < 59*time.Minute || !d[2].Deadline.Equal(fleetAt.Add(10*time.Minute)) {
		t.Errorf("%+v", d)
	}
	for body, code := range map[string]Code{
		`{"rate":-1}`: CodeInvalidField, `{"deadline_ms":86400001}`: CodeInvalidField, `{"deadline":"2020-01-01T00:00:00Z"}`: CodeInvalidField,
		`{"deadline":"2020-01-01T00:00:00Z","deadline_ms":1}`: CodeInvalidField, `{"fast":true}`: CodeUnknownField,
	} {
		wantCode(t, w.send(w.request(http.MethodPost, path+"/drain", body)), code)
	}
	wantCode(t, w.post("/nodes/b:1/drain", `{}`), CodeNodeNotFound) // it has gone meanwhile
	wantOK(t, w.do(w.request(http.MethodDelete, path+"/drain", "")))
	if !slices.Equal(w.nodes.undrains, []string{"[::1]:1"}) {
		t.Errorf("%v", w.nodes.undrains)
	}
}

func TestScopesOfNodes(t *testing.T) {
	for scope, allowed := range map[apikey.Scope][]int{
		apikey.ScopeAssign: {200, 403, 403, 403}, apikey.ScopeNodes: {403, 200, 200, 403}, apikey.ScopeFleet: {403, 403, 403, 200},
	} {
		w := newWorld(t, withKey(func(s *apikey.Spec) { s.Scopes = []apikey.Scope{scope} }))
		got := []int{
			w.post("/nodes/assign", `{}`).status, w.get("/nodes").status, w.get("/nodes/b:1").status,
			w.post("/nodes/"+url.PathEscape("[::1]:1")+"/drain", `{}`).status,
		}
		if !slices.Equal(got, allowed) {
			t.Errorf("%s: %v, want %v", scope, got, allowed)
		}
	}
}
