package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/homing/homing/hub/hook/webhook"
)

// hookListenCmd is a game backend for development: it prints what it is told.
type hookListenCmd struct {
	Listen     string        `help:"Address to take events at." default:"127.0.0.1:9000" placeholder:"HOST:PORT"`
	SecretFile string        `help:"File of secrets, as given to the API server. Empty: nothing is verified." type:"path" placeholder:"FILE"`
	Status     int           `help:"Answer verified events with this status. 503: they come again; 410: no more come." default:"200"`
	Slow       time.Duration `help:"Answer after so long." placeholder:"DURATION"`
}

// Help is shown below the flags.
func (*hookListenCmd) Help() string {
	return `It checks the signature of each request, and prints a line for each event: when it
came, whether it was verified, its type, its id, and its data. An event that came
before is marked as a repeat. A request that is not verified is answered 401.

Example, in three terminals:

  (umask 077; homing hook secret > hook.secret)
  homing hook listen --secret-file hook.secret
  homing dev --hook-url http://127.0.0.1:9000/ --hook-secret-file hook.secret

Then play on the pages of homing dev, or store a notification for somebody who is
away: half a minute later notification.unreached says so. --status 503 and --slow
20s show what a backend in trouble causes; GET /hooks of the API server shows how
much waits meanwhile.`
}

// Validate reports the first option that cannot work.
func (c *hookListenCmd) Validate() error {
	switch {
	case c.Status < 200 || c.Status > 599:
		return fmt.Errorf("--status: %d: want 200 to 599", c.Status)
	case c.Slow < 0:
		return fmt.Errorf("--slow: %v: want 0s or more", c.Slow)
	}
	return nil
}

// maxListened bounds a request's body, in bytes: the largest batch is smaller.
const maxListened = 4 << 20

// listenGrace is how long requests may take to end when the command does.
const listenGrace = time.Second

func (c *hookListenCmd) Run(ctx context.Context, s streams) error {
	l := &hookListener{cmd: c, out: s.out, seen: make(map[string]bool)}
	if c.SecretFile != "" {
		var err error
		if l.verifier, err = webhook.LoadVerifier(c.SecretFile); err != nil {
			return fmt.Errorf("--secret-file: %w", err)
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	l.say("taking events at http://%s/", ln.Addr())
	server := &http.Server{
		Handler: l, ReadHeaderTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		err = server.Serve(ln)
	}()
	select {
	case <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), listenGrace)
	defer cancel()
	stopped := server.Shutdown(stopping)
	if errors.Is(stopped, context.DeadlineExceeded) {
		stopped = server.Close()
	}
	<-served
	return stopped
}

// hookListener prints events. It is safe for concurrent use.
type hookListener struct {
	cmd      *hookListenCmd
	verifier *webhook.Verifier // nil: nothing is verified

	mu   sync.Mutex
	out  io.Writer
	seen map[string]bool
}

// listenedEvent is an event, alone or in a batch.
type listenedEvent struct {
	ID   string          `json:"id"`
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func (l *hookListener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxListened))
	if err != nil {
		http.Error(w, "too large, or broken off", http.StatusRequestEntityTooLarge)
		return
	}
	word := "not checked"
	if l.verifier != nil {
		if err := l.verifier.Verify(body, r.Header); err != nil {
			l.say("%s REFUSED, %v", time.Now().Format(time.TimeOnly), err)
			http.Error(w, "not verified", http.StatusUnauthorized)
			return
		}
		word = "verified"
	}
	var one struct {
		listenedEvent
		Events []listenedEvent `json:"events"`
	}
	if err := json.Unmarshal(body, &one); err != nil {
		l.say("%s REFUSED, not JSON: %v", time.Now().Format(time.TimeOnly), err)
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	events := one.Events
	if events == nil {
		one.ID = r.Header.Get("webhook-id")
		events = []listenedEvent{one.listenedEvent}
	}
	l.print(word, events)
	if l.wait(r.Context()) {
		w.WriteHeader(l.cmd.Status)
	}
}

// wait waits as long as the answer is to take. It returns false when nobody waits
// for it any more.
func (l *hookListener) wait(ctx context.Context) bool {
	if l.cmd.Slow == 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(l.cmd.Slow):
		return true
	}
}

// seenMost is how many events are remembered to tell repeats; then all are
// forgotten.
const seenMost = 100_000

// print writes a line for each event.
func (l *hookListener) print(word string, events []listenedEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		mark := word
		if l.seen[e.ID] {
			mark += ", repeat"
		}
		if len(l.seen) >= seenMost {
			clear(l.seen)
		}
		l.seen[e.ID] = true
		var data bytes.Buffer
		if json.Compact(&data, e.Data) != nil {
			data.WriteString("null")
		}
		fmt.Fprintf(l.out, "%s %s: %s %s %s\n", time.Now().Format(time.TimeOnly), mark, e.Type, e.ID, data.Bytes())
	}
}

func (l *hookListener) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}
