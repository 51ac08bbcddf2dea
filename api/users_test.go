package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/hub"
)

func TestGetUser(t *testing.T) {
	w := newWorld(t)
	for id, want := range map[string]userPresence{
		"ann": {
			User: "ann", Online: true, Connections: 4,
			Services:  []servicePresence{{"chess", 3}, {"shop", 1}},
			Processes: []hub.ProcessID{"AAAAAAAAAAA", "BBBBBBBBBBB"},
		},
		"a/b%c": {User: "a/b%c", Online: true, Connections: 1, Services: []servicePresence{{"", 1}}, Processes: []hub.ProcessID{"AAAAAAAAAAA"}},
		"bob":   {User: "bob", Services: []servicePresence{}, Processes: []hub.ProcessID{}},
	} {
		out := w.send(w.request(http.MethodGet, "/users/"+url.PathEscape(id), ""))
		wantOK(t, out)
		var got userPresence
		if err := json.Unmarshal(out.body, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", id, d)
		}
	}
	wantOK(t, w.get("/users/ann")) // against the description
	wantCode(t, w.get("/users/a%20b"), CodeInvalidField)
	wantCode(t, w.get("/users/"+strings.Repeat("u", 129)), CodeInvalidField)
}

func TestQueryUsers(t *testing.T) {
	w := newWorld(t)
	out := w.post("/users/query", `{"users":["bob","ann"]}`)
	wantOK(t, out)
	var got usersReply
	if err := json.Unmarshal(out.body, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Users) != 2 || got.Users[0].User != "bob" || got.Users[0].Online || !got.Users[1].Online {
		t.Errorf("got %+v", got)
	}
	wantCode(t, w.post("/users/query", `{"users":[]}`), CodeInvalidField)
	wantCode(t, w.post("/users/query", `{"users":["a"],"data":1}`), CodeUnknownField)
}

func TestDeleteConnections(t *testing.T) {
	w := newWorld(t)
	out := w.do(w.request(http.MethodDelete, "/users/ann/connections?reason=signed+in+elsewhere", ""))
	wantOK(t, out)
	if string(out.body) != `{"user":"ann","processes":2}` {
		t.Errorf("got %s", out.body)
	}
	wantOK(t, w.do(w.request(http.MethodDelete, "/v1/users/bob/connections", "")))
	if d := cmp.Diff(map[hub.UserID]string{"ann": "signed in elsewhere", "bob": defaultReason}, w.hub.disconnects); d != "" {
		t.Error(d)
	}
	for _, reason := range []string{strings.Repeat("r", 124), "%ff"} {
		r := w.request(http.MethodDelete, "/users/ann/connections?reason="+reason, "")
		wantCode(t, w.send(r), CodeInvalidField)
	}
}

func TestUsersWithoutRedis(t *testing.T) {
	w := newWorld(t)
	w.hub.err = hub.ErrUnavailable
	wantCode(t, w.get("/users/ann"), CodeUnavailable)
	wantCode(t, w.post("/users/query", `{"users":["ann"]}`), CodeUnavailable)
	wantCode(t, w.do(w.request(http.MethodDelete, "/users/ann/connections", "")), CodeUnavailable)
	wantOK(t, w.get("/healthz"))
}
