package driver

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/hook/webhook"
)

// service takes orders and answers with statuses, the last of them for ever.
type service struct {
	t        *testing.T
	verifier *standardwebhooks.Webhook

	mu       sync.Mutex
	statuses []int
	ids      []string
	bodies   []string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if err := s.verifier.Verify(body, r.Header); err != nil {
		s.t.Errorf("the signature: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids, s.bodies = append(s.ids, r.Header.Get("webhook-id")), append(s.bodies, string(body))
	status := s.statuses[0]
	if len(s.statuses) > 1 {
		s.statuses = s.statuses[1:]
	}
	w.WriteHeader(status)
}

func webhookDriver(t *testing.T, statuses ...int) (*Webhook, *service) {
	t.Helper()
	secret := webhook.NewSecret()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, verifier: verifier, statuses: statuses}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	d, err := NewWebhook(webhook.Config{URL: srv.URL, Secret: secret, Timeout: 5 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	d.first = time.Millisecond
	return d, s
}

func TestWebhookRepeatsUnderOneID(t *testing.T) {
	d, s := webhookDriver(t, 503, 500, 204)
	if err := d.Remove(t.Context(), removal, fleet.Node{ID: "front-3"}); err != nil {
		t.Fatal(err)
	}
	if len(s.ids) != 3 || s.ids[0] != s.ids[1] || s.ids[1] != s.ids[2] || s.bodies[0] != s.bodies[2] {
		t.Errorf("requests: %q", s.ids)
	}
	var got struct {
		Type string
		Data message
	}
	if err := json.Unmarshal([]byte(s.bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "fleet.remove" || got.Data.Action != "remove" || got.Data.Node.ID != "front-3" || got.Data.Order != removal {
		t.Errorf("body: %s", s.bodies[0])
	}
	if err := d.Grow(t.Context(), removal); err != nil { // another action is another order, whatever its ID
		t.Fatal(err)
	}
	if s.ids[3] == s.ids[0] || strings.Contains(s.ids[3], ".") {
		t.Errorf("id of the next order: %q", s.ids[3])
	}
}

func TestWebhookGivesUp(t *testing.T) {
	d, s := webhookDriver(t, 500)
	d.patience = 50 * time.Millisecond
	if err := d.Grow(t.Context(), growth); err == nil || !strings.Contains(err.Error(), "given up after") || !strings.Contains(err.Error(), "500") {
		t.Errorf("Grow = %v", err)
	}
	if len(s.ids) < 2 {
		t.Errorf("%d tries", len(s.ids))
	}
	d, s = webhookDriver(t, 410)
	if err := d.Grow(t.Context(), growth); err == nil || !strings.Contains(err.Error(), "wants no orders") || len(s.ids) != 1 {
		t.Errorf("Grow = %v after %d tries", err, len(s.ids))
	}
}
