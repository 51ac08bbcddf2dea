package players_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/homing/homing/hub/hook/webhook"
)

// game is a game's backend that hears of rooms and matches. It refuses the first
// event of a room of its class, which must come again, before all others of that room.
type game struct {
	t          *testing.T
	url        string
	secret     string
	signatures *standardwebhooks.Webhook

	mu      sync.Mutex
	refused string // id of the event that was refused
	events  []heardEvent
	again   chan struct{} // closed when the refused event has come again
}

// heardEvent is an event as docs/hooks.md describes its body.
type heardEvent struct {
	ID        string          `json:"-"`
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

func newGame(t *testing.T) *game {
	t.Helper()
	g := &game{t: t, secret: webhook.NewSecret(), again: make(chan struct{})}
	var err error
	if g.signatures, err = standardwebhooks.NewWebhook(g.secret); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(g.take))
	t.Cleanup(srv.Close)
	g.url = srv.URL
	return g
}

func (g *game) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = g.signatures.Verify(body, r.Header)
	}
	e := heardEvent{ID: r.Header.Get("webhook-id")}
	if err == nil {
		err = strictly(body, &e)
	}
	if err != nil {
		g.t.Errorf("event %s: %v: %s", e.ID, err, body)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.refused == "" && strings.Contains(string(e.Data), `"class":"pairs"`):
		g.refused = e.ID
		w.WriteHeader(http.StatusServiceUnavailable)
	case slices.ContainsFunc(g.events, func(before heardEvent) bool { return before.ID == e.ID }):
	default:
		g.events = append(g.events, e)
		if e.ID == g.refused {
			close(g.again)
		}
	}
}

// strictly reads JSON that has no fields but those of v.
func strictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// of returns the events of a room, in the order in which they came.
func (g *game) of(room string) (all []heardEvent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.events {
		var about struct{ Room string }
		if json.Unmarshal(e.Data, &about) == nil && about.Room == room {
			all = append(all, e)
		}
	}
	return all
}

// facts are what an event says, with the users of a list in alphabetical order.
func (e *heardEvent) facts(t *testing.T) (said map[string]any) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &said); err != nil {
		t.Errorf("%s: %v", e.Type, err)
	}
	sortTexts(said)
	return said
}

// sortTexts sorts the lists of texts in a value.
func sortTexts(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, value := range v {
			sortTexts(value)
		}
	case []any:
		slices.SortFunc(v, func(a, b any) int {
			x, _ := a.(string)
			y, _ := b.(string)
			return strings.Compare(x, y)
		})
		for _, value := range v {
			sortTexts(value)
		}
	}
}
