package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
)

// fakeHooks has two endpoints, or fails.
type fakeHooks struct{ err error }

func (f *fakeHooks) Status(context.Context) ([]hook.Status, error) {
	return []hook.Status{
		{Endpoint: "idle", State: hook.Unattended},
		{
			Endpoint: "push", State: hook.BackingOff, Senders: 2, Events: 3, Bytes: 700,
			Oldest: time.Now().Add(-time.Hour), LastSuccess: time.Unix(1_700_000_000, 0), LastFailure: time.Unix(1_700_000_001, 0),
			LastError: "503", Expired: 4, StreamFull: 5,
		},
	}, f.err
}

func TestHooks(t *testing.T) {
	w := newWorld(t)
	out := w.do(w.request(http.MethodGet, "/hooks", ""))
	text := string(out.body)
	for _, want := range []string{
		`{"endpoints":[{"endpoint":"idle","state":"unattended","senders":0,"lag":{"events":0,"bytes":0,"oldest_ms":0},"given_up":{"expired":0,"stream_full":0}},`,
		`{"endpoint":"push","state":"backing_off","senders":2,"lag":{"events":3,"bytes":700,"oldest_ms":36`,
		`"last_success":"2023-11-14T22:13:20Z","last_failure":"2023-11-14T22:13:21Z","last_error":"503","given_up":{"expired":4,"stream_full":5}}]}`,
	} {
		if out.status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%d %s, want %s", out.status, text, want)
		}
	}
	w.board.err = hub.ErrUnavailable
	wantCode(t, w.get("/hooks"), CodeUnavailable)
}

func TestWithoutHooks(t *testing.T) {
	w := newWorld(t, func(_ *testing.T, _ *Config, deps *Deps) { deps.Hooks = nil })
	wantCode(t, w.get("/hooks"), CodeNotFound)
}
