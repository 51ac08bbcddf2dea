package api

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/api/apikey"
	"github.com/homing/homing/hub"
)

// fickleHub answers, fails, panics or lets wait, as it likes, before and after
// everything was sent.
type fickleHub struct{ *fakeHub }

func (h fickleHub) Notify(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	if err := fickle(ctx); err != nil {
		return hub.Summary{}, err
	}
	if n.Sent != nil {
		n.Sent()
	}
	if err := fickle(ctx); err != nil {
		return hub.Summary{}, err
	}
	return hub.Summary{ID: n.ID, Targets: len(n.Users)}, nil
}

func (h fickleHub) Broadcast(ctx context.Context, n *hub.Notification) (hub.Summary, error) {
	return h.Notify(ctx, n)
}

func (h fickleHub) Presence(ctx context.Context, users []hub.UserID) ([]hub.Presence, error) {
	return make([]hub.Presence, len(users)), fickle(ctx)
}

func fickle(ctx context.Context) error {
	switch rand.IntN(12) {
	case 0:
		panic("the hub is broken")
	case 1:
		return hub.ErrUnavailable
	case 2:
		return &hub.RoomError{Pot: hub.PotInbox, After: time.Second}
	case 3:
		<-ctx.Done()
		return ctx.Err()
	case 4, 5, 6:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(5 * time.Millisecond)):
		}
	}
	return nil
}

// anyRequest is the text of a request of some kind, whole or not.
func anyRequest(key string) string {
	long := strings.Repeat(" ", rand.IntN(2)*rand.IntN(60<<10))
	id := ""
	if rand.IntN(2) == 0 {
		id = fmt.Sprintf(`,"id":"%d"`, rand.IntN(1000))
	}
	line := `{"users":["ann"],"data":1` + id + `}`
	method, path, media, body := "POST", "/notify", "application/json", line+long
	switch rand.IntN(7) {
	case 0:
		body = `{"users":["ann"],"data":1,"wait":"1s"` + id + `}`
	case 1:
		path, media, body = "/notify/batch", "application/x-ndjson", strings.Repeat(line+"\n{\n"+long+"\n", 1+rand.IntN(5))
	case 2:
		path, body = "/broadcast", `{"data":1`+id+`}`
	case 3:
		path, body = "/users/query", `{"users":["ann"]}`+long
	case 4:
		method, path, body = "GET", "/users/ann", ""
	}
	if rand.IntN(8) == 0 {
		key = "hk_wrong"
	}
	framing := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	if rand.IntN(3) == 0 {
		framing = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n%s", method, path, key, media, framing)
	if rand.IntN(3) == 0 {
		text = text[:rand.IntN(len(text))]
	}
	return text
}

// visit opens a connection, sends some requests, and leaves at any time.
func (w *world) visit() {
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		return
	}
	defer c.Close()
	for range 1 + rand.IntN(3) {
		if _, err := io.WriteString(c, anyRequest(w.key)); err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(rand.N(15 * time.Millisecond)))
		if _, err := io.CopyN(io.Discard, c, rand.Int64N(600)); err != nil && rand.IntN(2) == 0 {
			return
		}
	}
}

// TestWhateverHappensIsGivenBack: callers who leave at any moment, a hub that
// fails in any way, and every limit reached: in the end nothing is taken.
func TestWhateverHappensIsGivenBack(t *testing.T) {
	w := newWorld(t,
		withKey(func(s *apikey.Spec) { s.Open, s.InFlight = 5, 4 }),
		withConfig(func(c *Config) {
			c.MaxInFlight, c.KeyConnections, c.AddressConnections, c.BodyLimit = 3, 10, 14, 50<<10
			c.BodyMemory = keyShare * (int64(c.BodyLimit) + batchMemory)
			c.RequestTimeout, c.BatchIdle = 100*time.Millisecond, 100*time.Millisecond
		}),
		func(_ *testing.T, _ *Config, deps *Deps) { deps.Hub = fickleHub{newFakeHub()} })
	var visitors sync.WaitGroup
	for range 20 {
		visitors.Go(func() {
			for range 40 {
				w.visit()
			}
		})
	}
	visitors.Wait()

	key, _ := w.server.gate.keys.Lookup(w.key)
	w.until("every connection ends", func() bool { all, _ := w.server.conns.Open(); return all == 0 })
	if _, strangers := w.server.conns.Open(); strangers != 0 {
		t.Errorf("%d strangers", strangers)
	}
	w.untilAtRest()
	if own := key.Share(); own.Open() != 0 || own.Working() != 0 || own.Memory() != 0 {
		t.Errorf("the key has %d open, %d working, %d bytes", own.Open(), own.Working(), own.Memory())
	}
	for i := range 10 {
		if !key.Share().TakeConn() {
			t.Fatalf("the key has %d connections left, want 10", i)
		}
	}
	w.once.mu.Lock()
	defer w.once.mu.Unlock()
	for id, r := range w.once.records {
		if !r.done {
			t.Errorf("the claim %s is held", id)
		}
	}
	for _, code := range []Code{CodeTooManyOpen, CodeTooManyInFlight, CodeOverloaded, CodeInternal, CodeUnavailable, CodeInboxFull} {
		if testutil.ToFloat64(w.server.responder.metrics.refused.WithLabelValues(string(code))) == 0 {
			t.Errorf("nobody was refused with %s: the test has missed it", code)
		}
	}
}
