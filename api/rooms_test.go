package api

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
	"github.com/homing/homing/hub/room/remote"
)

// wantBody fails unless out is status and exactly that text.
func wantBody(t *testing.T, out reply, status int, body string) {
	t.Helper()
	if out.status != status || string(out.body) != body {
		t.Errorf("got %d %s\nwant %d %s", out.status, out.body, status, body)
	}
}

// wantAsked fails unless want is what the rooms were asked for last.
func (w *world) wantAsked(want any) {
	w.t.Helper()
	if d := cmp.Diff(want, w.rooms.last()); d != "" {
		w.t.Errorf("asked for (-want +got):\n%s", d)
	}
}

func TestOpenRoom(t *testing.T) {
	w := newWorld(t)
	out := w.post("/rooms", `{"class":"arena","users":["ann","bob"],"metadata":{"map":"desert"},"data":{"goal":3}}`)
	wantBody(t, out, http.StatusCreated, `{"room":"drawn","class":"arena","epoch":1,"url":"ws://front/ws","seats":[{"user":"ann","seat":0,"ticket":"ticket-of-ann"},{"user":"bob","seat":1,"ticket":"ticket-of-bob"}]}`)
	w.wantAsked(asks.Open{Class: "arena", Users: []hub.UserID{"ann", "bob"}, Metadata: jsontext.Value(`{"map":"desert"}`), Data: jsontext.Value(`{"goal":3}`)})

	out = w.post("/v1/rooms", `{"id":"r-7","class":"arena","metadata":null,"data":null}`)
	wantBody(t, out, http.StatusOK, `{"room":"r-7","class":"arena","epoch":1,"url":"ws://front/ws","seats":[]}`)
	w.wantAsked(asks.Open{Room: "r-7", Class: "arena"})

	wantCode(t, w.post("/rooms", `{"id":"r-6","class":"arena"}`), CodeRoomEnded)
}

func TestListRooms(t *testing.T) {
	w := newWorld(t)
	out := w.get("/rooms")
	wantBody(t, out, http.StatusOK, `{"rooms":[`+
		`{"room":"r-7","class":"arena","process":"AAAAAAAAAAA","url":"ws://front/ws","seats":4,"taken":2,"metadata":{"map":"desert"},"created":"2026-09-21T13:13:20Z"},`+
		`{"room":"r-8","class":"relay","process":"AAAAAAAAAAA","url":"ws://front/ws","seats":16,"taken":0,"created":"2026-09-21T13:13:20Z"}],"cursor":"0-2"}`)
	w.wantAsked(listing{Limit: defaultRoomLimit})
	wantOK(t, w.get("/v1/rooms?class=arena&limit=1000&cursor=0-2"))
	w.wantAsked(listing{"arena", maxRoomLimit, "0-2"})
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5"} {
		if p := wantCode(t, w.send(w.request(http.MethodGet, "/rooms?limit="+limit, "")), CodeInvalidField); p.Field != "limit" {
			t.Errorf("limit %s: field %q", limit, p.Field)
		}
	}
	w.rooms.fail(hub.Invalid("cursor", "%q is none of ours", "x"))
	if p := wantCode(t, w.get("/rooms?cursor=x"), CodeInvalidField); p.Field != "cursor" {
		t.Errorf("field %q", p.Field)
	}
}

func TestGetRoom(t *testing.T) {
	w := newWorld(t)
	wantBody(t, w.get("/rooms/r-7"), http.StatusOK, `{"room":"r-7","class":"arena","epoch":1,"process":"AAAAAAAAAAA","url":"ws://front/ws","created":"2026-09-21T14:13:20Z",`+
		`"seats":[{"seat":0,"user":"ann","state":"seated"}],"free":3,"locked":false,"metadata":[1],`+
		`"tick":12,"hz":20,"ticks":10,"overruns":2,"tick_p50_ms":0.1,"tick_p99_ms":2,"messages":7,"refused":1,"frames":9}`)
	wantBody(t, w.get("/v1/rooms/r-6"), http.StatusOK, `{"room":"r-6","class":"arena","ended":"finished","result":{"winner":"ann"}}`)
	wantCode(t, w.get("/rooms/r-9"), CodeRoomNotFound)
	lost := endedRecord
	lost.Ended, lost.Result = "lost", nil
	w.rooms.fail(&remote.EndedError{Record: lost})
	wantBody(t, w.get("/rooms/r-6"), http.StatusOK, `{"room":"r-6","class":"arena","ended":"lost"}`)
}

func TestGiveSeats(t *testing.T) {
	w := newWorld(t)
	out := w.post("/rooms/r-7/seats", `{"users":["cleo"]}`)
	wantBody(t, out, http.StatusOK, `{"room":"r-7","class":"arena","epoch":1,"url":"ws://front/ws","seats":[{"user":"cleo","seat":0,"ticket":"ticket-of-cleo"}]}`)
	w.wantAsked(asks.Seats{Room: "r-7", Users: []hub.UserID{"cleo"}})
	wantCode(t, w.post("/rooms/r-6/seats", `{"users":["cleo"]}`), CodeRoomEnded)
	wantCode(t, w.post("/rooms/r-9/seats", `{"users":["cleo"]}`), CodeRoomNotFound)
}

func TestSignalRoom(t *testing.T) {
	w := newWorld(t)
	wantBody(t, w.post("/rooms/r-7/signal", `{"name":"spawn","data":{"n":2}}`), http.StatusOK, `{}`)
	w.wantAsked(asks.Signal{Room: "r-7", Name: "spawn", Data: []byte(`{"n":2}`)})
	w.rooms.reply = []byte{}
	wantBody(t, w.post("/rooms/r-7/signal", `{"name":"spawn"}`), http.StatusOK, `{}`)
	w.rooms.reply = []byte(`{"guards":5}`)
	wantBody(t, w.post("/v1/rooms/r-7/signal", `{"name":"spawn"}`), http.StatusOK, `{"reply":{"guards":5}}`)
	w.wantAsked(asks.Signal{Room: "r-7", Name: "spawn", Data: []byte(`null`)})
	w.rooms.reply = []byte{0xff, 0}
	wantBody(t, w.post("/rooms/r-7/signal", `{"name":"spawn","data":null}`), http.StatusOK, `{"reply_base64":"/wA="}`)

	longest := `"` + strings.Repeat("d", room.MaxMessage-2) + `"`
	wantOK(t, w.post("/rooms/r-7/signal", `{"name":"`+strings.Repeat("n", maxSignal)+`","data":`+longest+`}`))
	for body, field := range map[string]string{
		`{"data":1}`:           "name",
		`{"name":"","data":1}`: "name",
		`{"name":"` + strings.Repeat("n", maxSignal+1) + `"}`:                      "name",
		`{"name":"spawn","data":"` + strings.Repeat("d", room.MaxMessage-1) + `"}`: "data",
	} {
		if p := wantCode(t, w.post("/rooms/r-7/signal", body), CodeInvalidField); p.Field != field {
			t.Errorf("%.40s: field %q, want %q", body, p.Field, field)
		}
	}
}

// TestEndRoom: a room that had ended stays as it was, and that is no failure.
func TestEndRoom(t *testing.T) {
	w := newWorld(t)
	wantBody(t, w.post("/rooms/r-7/finish", `{"result":{"winner":"ann"}}`), http.StatusOK, `{"room":"r-7","ended":"finished"}`)
	w.wantAsked(asks.Finish{Room: "r-7", Why: "finished", Result: []byte(`{"winner":"ann"}`)})
	wantBody(t, w.post("/v1/rooms/r-7/finish", `{}`), http.StatusOK, `{"room":"r-7","ended":"finished"}`)
	w.wantAsked(asks.Finish{Room: "r-7", Why: "finished"})
	wantBody(t, w.do(w.request(http.MethodDelete, "/rooms/r-7", "")), http.StatusOK, `{"room":"r-7","ended":"closed"}`)
	w.wantAsked(asks.Finish{Room: "r-7", Why: "closed"})
	wantBody(t, w.do(w.request(http.MethodDelete, "/v1/rooms/r-6", "")), http.StatusOK, `{"room":"r-6","ended":"finished"}`)
	wantBody(t, w.post("/rooms/r-6/finish", `{"result":1}`), http.StatusOK, `{"room":"r-6","ended":"finished"}`)
	wantCode(t, w.post("/rooms/r-9/finish", `{}`), CodeRoomNotFound)
	wantCode(t, w.post("/rooms/r-7/finish", `{"result":"`+strings.Repeat("r", room.MaxResult)+`"}`), CodeInvalidField)
	wantCode(t, w.do(w.request(http.MethodDelete, "/rooms/r-9", "")), CodeRoomNotFound)
}

func TestMoveRoom(t *testing.T) {
	w := newWorld(t)
	wantBody(t, w.post("/rooms/r-7/move", `{}`), http.StatusOK, `{"process":"BBBBBBBBBBB","epoch":2,"url":"ws://other/ws"}`)
	w.wantAsked(asks.Move{Room: "r-7"})
	wantOK(t, w.post("/v1/rooms/r-7/move", `{"process":"BBBBBBBBBBB"}`))
	w.wantAsked(asks.Move{Room: "r-7", To: "BBBBBBBBBBB"})
	wantCode(t, w.post("/rooms/r-6/move", `{}`), CodeRoomEnded)
	wantCode(t, w.post("/rooms/r-9/move", `{}`), CodeRoomNotFound)
}

// everyRoomRoute are requests that ask the rooms for something.
func everyRoomRoute(w *world) map[string]*http.Request {
	return map[string]*http.Request{
		"open":   w.request(http.MethodPost, "/rooms", `{"class":"arena","users":["ann"]}`),
		"list":   w.request(http.MethodGet, "/rooms", ""),
		"get":    w.request(http.MethodGet, "/rooms/r-7", ""),
		"close":  w.request(http.MethodDelete, "/rooms/r-7", ""),
		"seats":  w.request(http.MethodPost, "/rooms/r-7/seats", `{"users":["ann"]}`),
		"signal": w.request(http.MethodPost, "/rooms/r-7/signal", `{"name":"spawn"}`),
		"finish": w.request(http.MethodPost, "/rooms/r-7/finish", `{}`),
		"move":   w.request(http.MethodPost, "/rooms/r-7/move", `{}`),
	}
}

// TestRoomFailures: what can go wrong behind every route has a code, and what is
// inside stays there.
func TestRoomFailures(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  Code
		retry bool // the caller is told when to come back
	}{
		{fmt.Errorf("finding a room: %w: dial tcp 10.0.0.7:6379", hub.ErrUnavailable), CodeUnavailable, true},
		{directory.ErrNoProcess, CodeRoomsFull, true},
		{&call.RefusalError{Code: asks.CodeTooMany}, CodeRoomsFull, true},
		{errors.Join(&call.RefusalError{Code: asks.CodeTooMany}, directory.ErrNoProcess), CodeRoomsFull, true},
		{&call.RefusalError{Code: asks.CodeNobody, Detail: "no other front takes rooms now"}, CodeRoomsFull, true},
		{fmt.Errorf("%w: room.info to AAAAAAAAAAA", call.ErrNoAnswer), CodeTimeout, false},
		{&call.RefusalError{Code: "unavailable", Detail: "10.0.0.7:6379"}, CodeUnavailable, true},
		{&call.RefusalError{Code: "unknown_method"}, CodeInternal, false},
		{&call.RefusalError{Code: "failed", Detail: "at 10.0.0.7"}, CodeInternal, false},
		{errors.New("at 10.0.0.7"), CodeInternal, false},
	} {
		w := newWorld(t)
		w.rooms.fail(c.err)
		for name, r := range everyRoomRoute(w) {
			t.Run(fmt.Sprint(name, " ", c.err), func(t *testing.T) {
				out := w.do(r)
				wantCode(t, out, c.code)
				if got := out.header.Get("Retry-After") != ""; got != c.retry {
					t.Errorf("Retry-After: %v, want %v", got, c.retry)
				}
				if bytes.Contains(out.body, []byte("10.0.0.7")) {
					t.Errorf("tells of the inside: %s", out.body)
				}
			})
		}
	}
}

// TestRoomRefusals: what the rooms refuse reaches the caller with field and detail.
func TestRoomRefusals(t *testing.T) {
	for _, c := range []struct {
		err           error
		code          Code
		field, detail string
	}{
		{hub.Invalid("users[3]", "has a space"), CodeInvalidField, "users[3]", "has a space"},
		{&call.RefusalError{Code: "invalid", Field: "metadata", Detail: "not JSON"}, CodeInvalidField, "metadata", "not JSON"},
		{&call.RefusalError{Code: asks.CodeClass, Detail: "arena"}, CodeInvalidField, "class", "no front has such a class"},
		{errors.Join(&call.RefusalError{Code: asks.CodeClass}, directory.ErrNoProcess), CodeInvalidField, "class", "no front has such a class"},
		{&call.RefusalError{Code: asks.CodeFull}, CodeRoomFull, "", "there are not enough free seats, or the room takes nobody"},
		{&call.RefusalError{Code: asks.CodeEnded, Detail: "the room has ended"}, CodeRoomEnded, "", "the room has ended"},
		{&call.RefusalError{Code: asks.CodeLogic, Detail: "no such map"}, CodeRoomRefused, "", "no such map"},
		{&call.RefusalError{Code: asks.CodeTooMany}, CodeRoomsFull, "", "every front asked has as many rooms or seats as it may"},
		{&call.RefusalError{Code: asks.CodeNobody, Detail: "no other front takes rooms now"}, CodeRoomsFull, "", "no other front takes rooms now"},
		{remote.ErrMismatch, CodeRoomExists, "", remote.ErrMismatch.Error()},
	} {
		w := newWorld(t)
		w.rooms.fail(c.err)
		p := wantCode(t, w.post("/rooms", `{"class":"arena"}`), c.code)
		if p.Field != c.field || p.Detail != c.detail {
			t.Errorf("%v: field %q, detail %q", c.err, p.Field, p.Detail)
		}
	}
}

// TestRoomBodies: what is no request is refused before the rooms hear of it.
func TestRoomBodies(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/rooms", "/rooms/r-7/seats", "/rooms/r-7/signal", "/rooms/r-7/finish", "/rooms/r-7/move"} {
		for body, code := range map[string]Code{
			"":                  CodeUnsupportedMediaType,
			"null":              CodeWrongType,
			"[]":                CodeWrongType,
			"{":                 CodeMalformedJSON,
			"{}{}":              CodeMalformedJSON,
			`{"nope":1}`:        CodeUnknownField,
			"{\"id\":\"\xff\"}": CodeInvalidUTF8,
			`{"a":1,"a":1}`:     CodeUnknownField,
		} {
			t.Run(path+" "+body, func(t *testing.T) { wantCode(t, w.send(w.request(http.MethodPost, path, body)), code) })
		}
	}
	for path, bodies := range map[string]map[string]Code{
		"/rooms": {
			`{"users":["ann"]}`:                  CodeInvalidField,
			`{"class":""}`:                       CodeInvalidField,
			`{"class":7}`:                        CodeWrongType,
			`{"class":"arena","users":"ann"}`:    CodeWrongType,
			`{"class":"arena","users":[1]}`:      CodeWrongType,
			`{"class":"arena","class":"arena"}`:  CodeDuplicateField,
			`{"class":"a","data":{"x":1,"x":2}}`: CodeDuplicateField,
			`{"Class":"arena"}`:                  CodeUnknownField,
		},
		"/rooms/r-7/seats":  {`{"users":{}}`: CodeWrongType, `{"users":[["ann"]]}`: CodeWrongType},
		"/rooms/r-7/signal": {`{"name":1}`: CodeWrongType},
		"/rooms/r-7/move":   {`{"process":1}`: CodeWrongType},
	} {
		for body, code := range bodies {
			t.Run(path+" "+body, func(t *testing.T) { wantCode(t, w.post(path, body), code) })
		}
	}
	if asked := w.rooms.last(); asked != nil {
		t.Errorf("the rooms were asked: %v", asked)
	}
	small := newWorld(t, withConfig(func(c *Config) { c.BodyLimit = 100 }))
	wantCode(t, small.post("/rooms/r-7/finish", `{"result":"`+strings.Repeat("r", 100)+`"}`), CodeBodyTooLarge)
}

// TestRoomCosts: opening or moving a room, and a long list, cost more than a
// request.
func TestRoomCosts(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		cost               int
	}{
		{http.MethodPost, "/rooms", `{"class":"arena"}`, 1 + costOfRoom},
		{http.MethodPost, "/rooms/r-7/move", `{}`, 1 + costOfRoom},
		{http.MethodPost, "/rooms/r-7/seats", `{"users":["ann"]}`, 1},
		{http.MethodPost, "/rooms/r-7/signal", `{"name":"spawn"}`, 1},
		{http.MethodGet, "/rooms/r-7", "", 1},
		{http.MethodGet, "/rooms?limit=99", "", 1},
		{http.MethodGet, "/rooms?limit=1000", "", 11},
	} {
		w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 0.001, c.cost+1 }))
		if out := w.do(w.request(c.method, c.path, c.body)); out.status/100 != 2 {
			t.Fatalf("%s %s: %d %s", c.method, c.path, out.status, out.body)
		}
		wantOK(t, w.get("/rooms/r-7")) // what is left
		wantCode(t, w.get("/rooms/r-7"), CodeRateLimited)
	}
}
