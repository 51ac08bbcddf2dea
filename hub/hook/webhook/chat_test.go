package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
)

// room is a chat that keeps what it is told.
type room struct {
	mu    sync.Mutex
	texts []string
}

func (c *room) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var message map[string]string
	if err := json.Unmarshal(raw, &message); err != nil || len(message) != 1 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts = append(c.texts, message["text"])
}

func (c *room) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.texts...)
}

func chatEndpoint(t *testing.T, every time.Duration) (*Endpoint, *room) {
	t.Helper()
	c := &room{}
	e := endpoint(t, Config{Format: formatSlack}, c.ServeHTTP)
	e.chat.every = every
	return e, c
}

func decision(i int) string {
	return fmt.Sprintf(`{"type":"fleet.decision","timestamp":"2026-06-05T21:30:00Z","data":{"text":"game: start %d <more> & so on"}}`, i)
}

func TestChatText(t *testing.T) {
	t.Parallel()
	e, c := chatEndpoint(t, 0)
	for _, body := range []string{
		decision(1),
		`{"events":[{"id":"evt_1","type":"room.ended","data":{"room": "r-7"}},{"id":"evt_2","type":"x","data":{"text":"y\nz"}}]}`,
		`{"type":"x","data":"` + strings.Repeat("ä", maxChatLine) + `"}`,
	} {
		if a := e.Post(t.Context(), "evt_1", []byte(body)); a.Verdict != hook.Delivered {
			t.Fatal(a)
		}
	}
	got := c.all()
	if len(got) != 3 || got[0] != "fleet.decision: game: start 1 &lt;more&gt; &amp; so on" ||
		got[1] != "room.ended: {\"room\":\"r-7\"}\nx: y z" || len(got[2]) > maxChatLine+3 || !strings.HasSuffix(got[2], "…") {
		t.Errorf("told %q", got)
	}
}

func TestChatGathersABurst(t *testing.T) {
	t.Parallel()
	e, c := chatEndpoint(t, 300*time.Millisecond)
	if a := e.Post(t.Context(), "evt_0", []byte(decision(0))); a.Verdict != hook.Delivered {
		t.Fatal(a)
	}
	const burst = maxChatLines + 7
	var posts sync.WaitGroup
	for i := range burst {
		posts.Go(func() {
			if a := e.Post(t.Context(), fmt.Sprint("evt_", i), []byte(decision(i))); a.Verdict != hook.Delivered {
				t.Error(a)
			}
		})
	}
	posts.Wait()
	// A slow machine may need more than one message for the burst; nothing is missing.
	got := c.all()
	lines, more := 0, 0
	for _, text := range got[1:] {
		for line := range strings.SplitSeq(text, "\n") {
			var n int
			if _, err := fmt.Sscanf(line, "… and %d more events", &n); err == nil {
				more += n
			} else {
				lines++
			}
		}
	}
	if lines+more != burst || len(got) > 4 {
		t.Errorf("%d messages, %d lines and %d more: %q", len(got), lines, more, got)
	}
}

func TestChatThatRefuses(t *testing.T) {
	t.Parallel()
	e := endpoint(t, Config{Format: formatSlack}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if a := e.Post(t.Context(), "evt_1", []byte(decision(1))); a.Verdict != hook.Failed || a.After != 30*time.Second {
		t.Errorf("%+v", a)
	}
}
