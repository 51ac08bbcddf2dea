package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

func TestTickets(t *testing.T) {
	w := newWorld(t)
	w.maker.calls = nil
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{http.MethodPost, "/match/tickets", `{"queue":"duel","players":["cleo"],"rating":7,"id":"c1"}`, 201, `{"ticket":{"id":"duel:c1","queue":"duel","status":"waiting","players":["cleo"],"rating":7}}`},
		{http.MethodPost, "/match/tickets", `{"queue":"duel","players":["ann"],"rating":null,"labels":null,"id":null}`, 200, `{"ticket":{"id":"duel:ann","queue":"duel","status":"waiting","players":["ann"],"rating":-3.5,"labels":["eu"],"waited_ms":1500,"estimate_ms":2000}}`},
		{http.MethodGet, "/match/tickets/duel:bob", "", 200, `{"ticket":{"id":"duel:bob","queue":"duel","status":"matched","match":{"match":"m1","room":"r1","url":"ws://x/ws","players":[{"user":"bob","team":1,"ticket":"t.t"}]}}}`},
		{http.MethodGet, "/match/tickets/" + url.PathEscape("duel:a/b"), "", 200, `{"ticket":{"id":"duel:a/b","queue":"duel","status":"offered","players":["a/b"],"accept_until":"2023-11-14T22:13:20Z"}}`},
		{http.MethodPost, "/match/tickets/" + url.PathEscape("duel:a/b") + "/accept", `{"user":"a/b"}`, 200, `{"ticket":{"id":"duel:a/b","queue":"duel","status":"offered","players":["a/b"],"accept_until":"2023-11-14T22:13:20Z"}}`},
		{http.MethodDelete, "/match/tickets/duel:ann", "", 200, `{"ticket":{"id":"duel:ann","queue":"duel","status":"cancelled"}}`},
		{http.MethodGet, "/match/queues", "", 200, `{"queues":[` +
			`{"queue":"duel","mode":"ranked","players":1,"tickets":1,"created":5,"ended":{"matched":4,"cancelled":0,"expired":0,"lost":0,"declined":0},"estimate_ms":1000,"waits":{"tickets":4,"p50_ms":1000,"p90_ms":2000,"p99_ms":3000},"deciles":[{"from":1,"to":2,"p50_ms":1000,"p90_ms":2000,"p99_ms":3000}]},` +
			`{"queue":"empty","players":0,"tickets":0,"created":0,"ended":{"matched":0,"cancelled":0,"expired":0,"lost":0,"declined":0},"deciles":[]}]}`},
	} {
		send := w.do
		if strings.Contains(c.path, "%2F") {
			send = w.send // the description's router takes no slash in an id
		}
		out := send(w.request(c.method, c.path, c.body))
		if out.status != c.status || string(out.body) != c.want {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, out.status, out.body, c.status, c.want)
		}
	}
	out := w.post("/match/tickets", `{"queue":"duel","players":["dora"]}`)
	if out.status != http.StatusCreated || !strings.Contains(string(out.body), `"id":"duel:0`) {
		t.Errorf("without an id: %d %s", out.status, out.body)
	}
}

func TestTicketsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	for body, code := range map[string]Code{
		`{"queue":"chess","players":["cleo"]}`:             CodeInvalidField,
		`{"queue":"duel","players":["cleo"],"id":"a b"}`:   CodeInvalidField,
		`{"queue":"duel","players":["cleo"],"team":1}`:     CodeUnknownField,
		`{"queue":"duel","players":"cleo"}`:                CodeWrongType,
		`{"queue":"duel","players":["cleo"],"rating":"7"}`: CodeWrongType,
		`{"queue":"duel","queue":"duel","players":[]}`:     CodeDuplicateField,
		`{"queue":"duel"`: CodeMalformedJSON,
		`[]`:              CodeWrongType,
	} {
		wantCode(t, w.send(w.request(http.MethodPost, "/match/tickets", body)), code)
	}
	if p := wantCode(t, w.post("/match/tickets", `{"queue":"duel","players":["cleo"],"rating":true}`), CodeWrongType); p.Field != "rating" || p.Detail != "boolean, want number" {
		t.Errorf("%+v", p)
	}
	wantCode(t, w.post("/match/tickets/duel:a/accept", `{}`), CodeNotFound)
	wantCode(t, w.post("/match/tickets/duel:ann/accept", `{"user":"eve"}`), CodeInvalidField)
	wantCode(t, w.post("/match/tickets/duel:ann/accept", `{"user":"a b"}`), CodeInvalidField)
	if p := wantCode(t, w.post("/match/tickets/duel:ann/accept", `{"accept":1}`), CodeWrongType); p.Detail != "number, want boolean" {
		t.Errorf("%+v", p)
	}
	wantCode(t, w.get("/match/tickets/duel:nobody"), CodeNotFound)
	wantCode(t, w.do(w.request(http.MethodDelete, "/match/tickets/duel:nobody", "")), CodeNotFound)
	w.maker.err = hub.ErrUnavailable
	wantCode(t, w.get("/match/queues"), CodeUnavailable)
	wantCode(t, w.get("/match/tickets/duel:ann"), CodeUnavailable)
}

// TestWithoutMatchmaking: a server that has no queues says so, before it reads.
func TestWithoutMatchmaking(t *testing.T) {
	w := newWorld(t, func(_ *testing.T, _ *Config, deps *Deps) { deps.Match = nil })
	for _, r := range []*http.Request{
		w.request(http.MethodPost, "/match/tickets", `{"queue":"duel","players":["ann"]}`),
		w.request(http.MethodGet, "/match/tickets/duel:ann", ""),
		w.request(http.MethodDelete, "/match/tickets/duel:ann", ""),
		w.request(http.MethodPost, "/match/tickets/duel:ann/accept", `{}`),
		w.request(http.MethodGet, "/match/queues", ""),
	} {
		wantCode(t, w.do(r), CodeNotFound)
	}
}

// TestTicketsCost: a ticket costs 2 units, and so does its end.
func TestTicketsCost(t *testing.T) {
	w := newWorld(t, withKey(func(s *apikey.Spec) { s.Rate, s.Burst = 0.001, 5 }))
	bodies := []string{`{"queue":"duel","players":["cleo"]}`, `{"queue":"duel","players":["dora"]}`, `{"queue":"duel","players":["eve"]}`}
	var got []int
	for _, b := range bodies {
		got = append(got, w.post("/match/tickets", b).status)
	}
	got = append(got, w.do(w.request(http.MethodDelete, "/match/tickets/duel:ann", "")).status)
	if want := []int{201, 201, 201, 429}; !slices.Equal(got, want) { // the third brings the key into debt
		t.Errorf("%v, want %v", got, want)
	}
}
