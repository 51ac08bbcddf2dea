package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/hub"
)

func summary(t *testing.T, out reply) hub.Summary {
	t.Helper()
	wantOK(t, out)
	var s hub.Summary
	if err := json.Unmarshal(out.body, &s); err != nil {
		t.Fatalf("%s: %v", out.body, err)
	}
	return s
}

func TestNotify(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/notify", "/v1/notify"} {
		got := summary(t, w.post(path, `{"users":["ann","bob","ann"],"type":"t","data":{"a":1}}`))
		if _, err := ulid.ParseStrict(got.ID); err != nil {
			t.Errorf("id %q: %v", got.ID, err)
		}
		got.ID = ""
		if d := cmp.Diff(hub.Summary{Targets: 2, Online: 1, Offline: 1, Processes: 2}, got); d != "" {
			t.Error(d)
		}
	}
	if sent := w.hub.notifications(); len(sent) != 2 || sent[0].ID == sent[1].ID || string(sent[0].Data) != `{"a":1}` {
		t.Errorf("sent %+v", sent)
	}
	m := w.server.responder.metrics
	if n := testutil.ToFloat64(m.accepted.WithLabelValues("notify")); n != 2 {
		t.Errorf("accepted %v", n)
	}
	if n := testutil.ToFloat64(m.targets.WithLabelValues("notify")); n != 4 {
		t.Errorf("targets %v", n)
	}
	if n := testutil.ToFloat64(m.requests.WithLabelValues("/notify", "200")); n != 2 {
		t.Errorf("requests %v", n)
	}
}

func TestNotifyWithReceipts(t *testing.T) {
	w := newWorld(t)
	body := `{"users":["ann","bob"],"data":1,"wait":"300ms"}`
	got := summary(t, w.post("/notify", body))
	if d := cmp.Diff(&hub.Report{Written: 1, Offline: 1}, got.Report); d != "" {
		t.Error(d)
	}
	got = summary(t, w.post("/notify?per_user=1", body))
	if got.Report == nil || got.Report.PerUser["bob"] != "offline" {
		t.Errorf("report per user: %+v", got.Report)
	}
	if sent := w.hub.notifications(); sent[0].Wait != 300*time.Millisecond || sent[0].PerUser || !sent[1].PerUser {
		t.Errorf("sent %+v", sent)
	}
}

func TestNotifyStores(t *testing.T) {
	w := newWorld(t)
	summary(t, w.post("/notify", `{"users":["ann"],"data":1,"store":"24h"}`))
	if sent := w.hub.notifications(); sent[0].Store != 24*time.Hour || sent[0].Account.Name != "backend" {
		t.Errorf("sent %+v", sent)
	}
	wantCode(t, w.post("/broadcast", `{"data":1,"store":"24h"}`), CodeUnknownField)
	w.hub.set(func(h *fakeHub) {
		h.err = hub.Invalid("store", "24h0m0s, want more than 0 and at most 1h0m0s")
	})
	if p := wantCode(t, w.post("/notify", `{"users":["ann"],"data":1,"store":"24h"}`), CodeInvalidField); p.Field != "store" {
		t.Errorf("the field at fault is not named: %+v", p)
	}
}

func TestMediaTypes(t *testing.T) {
	w := newWorld(t)
	for ct, ok := range map[string]bool{
		"application/json":                   true,
		"Application/JSON; charset=UTF-8":    true,
		"application/json;charset=\"utf-8\"": true,
		"application/json; charset=latin1":   false,
		"application/x-ndjson":               false,
		"text/json":                          false,
		"":                                   false,
		";;;":                                false,
	} {
		r := w.request(http.MethodPost, "/notify", someone)
		r.Header.Set("Content-Type", ct)
		out := w.send(r)
		if ok {
			wantOK(t, out)
		} else {
			wantCode(t, out, CodeUnsupportedMediaType)
		}
	}
	r := w.request(http.MethodPost, "/notify", someone)
	r.Header.Set("Content-Encoding", "gzip")
	wantCode(t, w.send(r), CodeUnsupportedMediaType)
}

func TestBroadcast(t *testing.T) {
	w := newWorld(t)
	got := summary(t, w.post("/broadcast", `{"services":["chess"],"data":"hi","id":"b-1"}`))
	if d := cmp.Diff(hub.Summary{ID: "b-1", Targets: 5, Online: 5, Processes: 2}, got); d != "" {
		t.Error(d)
	}
	if b := w.hub.broadcasts; len(b) != 1 || b[0].Services[0] != "chess" || b[0].Users != nil {
		t.Errorf("sent %+v", b)
	}
}

// What became of each of many users is told once, and not remembered.
func TestALargeReplyIsRememberedInShort(t *testing.T) {
	w := newWorld(t)
	ask := func(id string, users int) (first, again hub.Summary) {
		names := make([]string, users)
		for i := range names {
			names[i] = fmt.Sprintf(`"user-%04d"`, i)
		}
		body := fmt.Sprintf(`{"id":%q,"users":[%s],"data":1,"wait":"10ms"}`, id, strings.Join(names, ","))
		first = summary(t, w.post("/notify?per_user=1", body))
		return first, summary(t, w.post("/notify?per_user=1", body))
	}
	first, again := ask("few", 50)
	if d := cmp.Diff(first, again); d != "" || len(again.Report.PerUser) != 50 {
		t.Errorf("a small reply was not remembered whole: %s", d)
	}
	first, again = ask("many", 5000)
	if len(first.Report.PerUser) != 5000 || first.Report.UsersOmitted {
		t.Errorf("the first reply names %d users, want 5000", len(first.Report.PerUser))
	}
	if !again.Report.UsersOmitted || again.Report.PerUser != nil || again.Report.Offline != 5000 {
		t.Errorf("the repeat got %+v, want the counts alone", again.Report)
	}
	for id, r := range w.once.records {
		if len(r.reply) > rememberLimit {
			t.Errorf("%s: %d bytes remembered, want at most %d", id, len(r.reply), rememberLimit)
		}
	}
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	body := `{"id":"o-1","users":["ann"],"data":1}`
	first := w.post("/notify", body)
	second := w.post("/v1/notify", body)
	wantOK(t, first)
	wantOK(t, second)
	if first.header.Get("Idempotency-Replayed") != "" || second.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replayed: %q, %q", first.header, second.header)
	}
	if string(first.body) != string(second.body) {
		t.Errorf("%s, then %s", first.body, second.body)
	}
	if sent := w.hub.notifications(); len(sent) != 1 || sent[0].ID != "o-1" {
		t.Errorf("sent %+v", sent)
	}
	// The same id in a broadcast is another request, and one that a batch
	// repeats is the same.
	wantCode(t, w.post("/broadcast", `{"id":"o-1","data":1}`), CodeIdempotencyMismatch)
	if lines := w.batch(body + "\n"); len(lines) != 1 || !strings.HasPrefix(lines[0], `{"line":1,"replayed":true,"id":"o-1"`) {
		t.Errorf("batch: %s", lines)
	}
}

func TestFailureGivesTheIDBack(t *testing.T) {
	w := newWorld(t)
	body := `{"id":"o-1","users":["ann"],"data":1}`
	w.hub.set(func(h *fakeHub) { h.err = fmt.Errorf("send: %w", hub.ErrUnavailable) })
	wantCode(t, w.post("/notify", body), CodeUnavailable)
	w.hub.set(func(h *fakeHub) { h.err = nil })
	out := w.post("/notify", body)
	wantOK(t, out)
	if out.header.Get("Idempotency-Replayed") != "" {
		t.Error("replayed a failure")
	}
}

// TestIdempotencyNeedsItsStore: with an id and no way to remember it, nothing
// may be sent.
func TestIdempotencyNeedsItsStore(t *testing.T) {
	w := newWorld(t)
	w.once.err = fmt.Errorf("claim: %w", hub.ErrUnavailable)
	wantCode(t, w.post("/notify", `{"id":"o-1","users":["ann"],"data":1}`), CodeUnavailable)
	if sent := w.hub.notifications(); len(sent) != 0 {
		t.Errorf("sent %+v", sent)
	}
	wantOK(t, w.post("/notify", someone))
}

// TestAPanicGivesTheIDBack: nobody is left to end the claim.
func TestAPanicGivesTheIDBack(t *testing.T) {
	w := newWorld(t)
	body := `{"id":"o-1","users":["ann"],"data":1}`
	w.hub.set(func(h *fakeHub) { h.panics = true })
	wantCode(t, w.post("/notify", body), CodeInternal)
	w.hub.set(func(h *fakeHub) { h.panics = false })
	wantOK(t, w.post("/notify", body))
}

// TestARepeatAsksForTheSameForm: a reply with a report for each user is not
// the reply to who asked for none.
func TestARepeatAsksForTheSameForm(t *testing.T) {
	w := newWorld(t)
	body := `{"id":"o-1","users":["ann"],"data":1,"wait":"100ms"}`
	wantOK(t, w.post("/notify?per_user=1", body))
	wantCode(t, w.post("/notify", body), CodeIdempotencyMismatch)
	if out := w.post("/notify?per_user=1", body); out.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("not replayed: %s", out.body)
	}
	// Without a wait there is no report, so the form is the same.
	body = `{"id":"o-2","users":["ann"],"data":1}`
	wantOK(t, w.post("/notify?per_user=1", body))
	wantOK(t, w.post("/notify", body))
}
