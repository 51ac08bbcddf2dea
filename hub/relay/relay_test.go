package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// until gives a test's waits an end.
func until(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// running runs f until the test ends, and waits for it.
func running(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// mailbox is a process that keeps what it receives.
type mailbox struct {
	id       hub.ProcessID
	receiver *Receiver

	mu   sync.Mutex
	got  []string
	more chan struct{}
}

func newMailbox(t *testing.T, r *redisx.Redis, keys hub.Keys) *mailbox {
	t.Helper()
	m := &mailbox{id: hub.NewProcessID(), more: make(chan struct{}, 1)}
	m.receiver = NewReceiver(r, keys, m.id, m.put, quiet, prometheus.NewRegistry())
	running(t, m.receiver.Run)
	if err := m.receiver.WaitReady(until(t)); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mailbox) put(msg Message) {
	m.mu.Lock()
	m.got = append(m.got, string(msg.Body))
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// waitFor returns the first n messages.
func (m *mailbox) waitFor(t *testing.T, n int) []string {
	t.Helper()
	ctx := until(t)
	for {
		m.mu.Lock()
		got := m.got
		m.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-m.more:
		case <-ctx.Done():
			t.Fatalf("%d messages arrived, want %d", len(got), n)
		}
	}
}

// shards starts n servers and opens them as so many pub/sub shards.
func shards(t *testing.T, n int) (*redisx.Redis, []*redisproc.Server) {
	t.Helper()
	var servers []*redisproc.Server
	cfg := redistest.Config(t, "")
	cfg.Data = nil
	for range n {
		s := redistest.Process(t, redisproc.ServerOptions{})
		servers = append(servers, s)
		cfg.PubSub = append(cfg.PubSub, "redis://"+s.Addr())
	}
	cfg.Data = cfg.PubSub[:1]
	return redistest.Open(t, cfg), servers
}

func TestMessagesArriveInOrderWhereTheyWereSent(t *testing.T) {
	r, _ := shards(t, 2)
	keys := hub.NewKeys(redistest.Prefix(t))
	a, b := newMailbox(t, r, keys), newMailbox(t, r, keys)
	reg := prometheus.NewRegistry()
	s := NewSender(r, keys, hub.NewProcessID(), quiet, reg)
	running(t, s.Run)

	const n = 2000
	for i := range n {
		body := fmt.Appendf(nil, "%d", i)
		if err := s.Send(until(t), []Outgoing{{To: a.id, Body: body}, {To: b.id, Body: append(body, 'b')}}); err != nil {
			t.Fatal(err)
		}
	}
	for i, got := range a.waitFor(t, n) {
		if want := fmt.Sprint(i); got != want {
			t.Fatalf("a's message %d is %q, want %q", i, got, want)
		}
	}
	for i, got := range b.waitFor(t, n) {
		if want := fmt.Sprint(i) + "b"; got != want {
			t.Fatalf("b's message %d is %q, want %q", i, got, want)
		}
	}
	if missed := testutil.ToFloat64(a.receiver.metrics.missed); missed != 0 {
		t.Errorf("missed counter is %v, want 0", missed)
	}
}

func TestAShardThatIsDownIsPassedOver(t *testing.T) {
	r, servers := shards(t, 2)
	keys := hub.NewKeys(redistest.Prefix(t))
	reg := prometheus.NewRegistry()
	s := NewSender(r, keys, hub.NewProcessID(), quiet, reg)
	running(t, s.Run)
	var boxes []*mailbox
	for range 8 { // so that both shards are somebody's first choice
		boxes = append(boxes, newMailbox(t, r, keys))
	}
	servers[1].Kill()
	for _, m := range boxes {
		if err := s.Send(until(t), []Outgoing{{To: m.id, Body: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		m.waitFor(t, 1)
	}
	servers[0].Kill()
	err := s.Send(until(t), []Outgoing{{To: boxes[0].id, Body: []byte("y")}})
	if !errors.Is(err, ErrUnsent) || !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("with every shard down: %v, want ErrUnsent and hub.ErrUnavailable", err)
	}
	if unsent := testutil.ToFloat64(s.metrics.unsent); unsent != 1 {
		t.Errorf("unsent counter is %v, want 1", unsent)
	}
}

func TestReceiverCountsWhatItMissed(t *testing.T) {
	r, _ := shards(t, 1)
	keys := hub.NewKeys(redistest.Prefix(t))
	m := newMailbox(t, r, keys)
	from := hub.NewProcessID()
	for _, seq := range []uint64{5, 6, 9, 8} {
		msg := Message{From: from, Seq: seq, Sent: time.Now(), Body: []byte("x")}
		m.receiver.receive(0, "", msg.Append(nil))
	}
	m.receiver.receive(0, "", []byte("nonsense"))
	for name, c := range map[string]struct {
		counter prometheus.Counter
		want    float64
	}{
		"missed":    {m.receiver.metrics.missed, 2}, // 7 and 8; 8 came late
		"late":      {m.receiver.metrics.late, 1},
		"malformed": {m.receiver.metrics.malformed, 1},
	} {
		if got := testutil.ToFloat64(c.counter); got != c.want {
			t.Errorf("%s counter is %v, want %v", name, got, c.want)
		}
	}
}
