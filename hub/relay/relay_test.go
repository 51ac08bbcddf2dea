package relay

import (
	"context"
	"errors"
	"fmt"
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

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// until gives a test's waits an end.
func until(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// process is one end of the relay, which keeps what it receives.
type process struct {
	id    hub.ProcessID
	relay *Relay

	mu   sync.Mutex
	got  []string
	more chan struct{}
}

func newProcess(t *testing.T, cfg Config, r *redisx.Redis, keys hub.Keys) *process {
	t.Helper()
	p := &process{id: hub.NewProcessID(), more: make(chan struct{}, 1)}
	p.relay = New(cfg, r, keys, p.id, modelLog, prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.relay.Run(ctx, Upper{Handle: p.take}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := p.relay.WaitReady(until(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) take(m *Message) bool {
	p.mu.Lock()
	p.got = append(p.got, string(m.Body))
	p.mu.Unlock()
	m.Done([]byte("re " + string(m.Body)))
	select {
	case p.more <- struct{}{}:
	default:
	}
	return true
}

// want waits for n messages, then checks that they are the numbers from 0 on
// and that no more come.
func (p *process) want(t *testing.T, n int) {
	t.Helper()
	ctx := until(t)
	for {
		p.mu.Lock()
		got := p.got
		p.mu.Unlock()
		if len(got) >= n {
			break
		}
		select {
		case <-p.more:
		case <-ctx.Done():
			t.Fatalf("%d messages arrived, want %d", len(got), n)
		}
	}
	time.Sleep(2 * defaults.RetransmitTimeout)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, got := range p.got {
		if got != fmt.Sprint(i) {
			t.Fatalf("message %d of %d is %q", i, len(p.got), got)
		}
	}
	if len(p.got) != n {
		t.Fatalf("%d messages arrived, want %d", len(p.got), n)
	}
}

var defaults = Config{Window: 30 * time.Second, Memory: 64 << 20, RetransmitTimeout: 250 * time.Millisecond}

// shards starts n servers and opens them as so many pub/sub shards.
func shards(t *testing.T, n int) (*redisx.Redis, []*redisproc.Server) {
	t.Helper()
	var servers []*redisproc.Server
	cfg := redistest.Config(t, "")
	for range n {
		s := redistest.Process(t, redisproc.ServerOptions{})
		servers = append(servers, s)
		cfg.PubSub = append(cfg.PubSub, "redis://"+s.Addr())
	}
	cfg.Data = cfg.PubSub[:1]
	return redistest.Open(t, cfg), servers
}

func number(i int) []byte { return fmt.Appendf(nil, "%d", i) }

func TestMessagesArriveOnceAndInOrder(t *testing.T) {
	r, _ := shards(t, 2)
	keys := hub.NewKeys(redistest.Prefix(t))
	a, b := newProcess(t, defaults, r, keys), newProcess(t, defaults, r, keys)
	s := newProcess(t, defaults, r, keys)
	const n = 2000
	for i := range n {
		if err := s.relay.Send(until(t), []Outgoing{{To: a.id, Body: number(i)}, {To: b.id, Body: number(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	a.want(t, n)
	b.want(t, n)
	for len(s.relay.Unconfirmed()) > 0 { // want has waited long enough for the acks
		t.Fatalf("unconfirmed at rest: %v", s.relay.Unconfirmed())
	}
	if kept := s.relay.retained(); kept != 0 {
		t.Errorf("%v bytes kept at rest, want 0", kept)
	}
}

func TestFlushWaitsForConfirmation(t *testing.T) {
	r, _ := shards(t, 1)
	keys := hub.NewKeys(redistest.Prefix(t))
	s, p := newProcess(t, defaults, r, keys), newProcess(t, defaults, r, keys)
	if err := s.relay.Send(until(t), []Outgoing{{To: p.id, Body: number(0)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.relay.Flush(until(t)); err != nil || len(s.relay.Unconfirmed()) > 0 {
		t.Fatalf("flush: %v, unconfirmed %v", err, s.relay.Unconfirmed())
	}
	if err := s.relay.Send(until(t), []Outgoing{{To: hub.NewProcessID(), Body: number(0)}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.relay.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush to nobody: %v, want its deadline", err)
	}
}

func TestNothingIsLostWhenAShardDies(t *testing.T) {
	r, servers := shards(t, 2)
	keys := hub.NewKeys(redistest.Prefix(t))
	s := newProcess(t, defaults, r, keys)
	var boxes []*process
	for range 4 { // so that both shards are somebody's first choice
		boxes = append(boxes, newProcess(t, defaults, r, keys))
	}
	const n = 600
	for i := range n {
		if i == n/3 {
			servers[1].Kill()
		}
		for _, p := range boxes {
			if err := s.relay.Send(until(t), []Outgoing{{To: p.id, Body: number(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Millisecond)
	}
	for _, p := range boxes {
		p.want(t, n)
	}
}

func TestWhatNoShardTakesIsKeptUntilOneDoes(t *testing.T) {
	r, servers := shards(t, 1)
	keys := hub.NewKeys(redistest.Prefix(t))
	s, p := newProcess(t, defaults, r, keys), newProcess(t, defaults, r, keys)
	servers[0].Crash()
	for i := range 10 {
		if err := s.relay.Send(until(t), []Outgoing{{To: p.id, Body: number(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := servers[0].Restart(until(t), ""); err != nil {
		t.Fatal(err)
	}
	p.want(t, 10)
}

func TestReplies(t *testing.T) {
	r, _ := shards(t, 1)
	keys := hub.NewKeys(redistest.Prefix(t))
	s, p := newProcess(t, defaults, r, keys), newProcess(t, defaults, r, keys)
	replies := make(chan string, 1)
	for i := range 20 {
		started := time.Now()
		out := Outgoing{To: p.id, Body: number(i), Reply: func(b []byte) { replies <- string(b) }}
		if err := s.relay.Send(until(t), []Outgoing{out}); err != nil {
			t.Fatal(err)
		}
		if got, want := <-replies, fmt.Sprint("re ", i); got != want {
			t.Errorf("reply %q, want %q", got, want)
		}
		if i == 19 {
			t.Logf("the last reply took %v", time.Since(started))
		}
	}
	gone := hub.NewProcessID()
	out := Outgoing{To: gone, Body: number(0), Reply: func(b []byte) { replies <- fmt.Sprint(b == nil) }}
	if err := s.relay.Send(until(t), []Outgoing{out}); err != nil {
		t.Fatal(err)
	}
	s.relay.Abandon(gone)
	if got := <-replies; got != "true" {
		t.Errorf("an abandoned message was answered: nil is %s", got)
	}
}

// TestMemoryIsBounded: receivers that confirm nothing take half of the memory,
// then a third each, and there is room for the others throughout.
func TestMemoryIsBounded(t *testing.T) {
	r, _ := shards(t, 1)
	cfg := defaults
	cfg.Memory = 1200 << 10
	keys := hub.NewKeys(redistest.Prefix(t))
	s, well := newProcess(t, cfg, r, keys), newProcess(t, cfg, r, keys)
	body := make([]byte, 99<<10)
	fill := func(to hub.ProcessID) (n int) {
		for ; ; n++ {
			out := []Outgoing{{To: to, Body: body}}
			switch err := s.relay.Send(until(t), out); {
			case err == nil:
			case errors.Is(err, ErrFull) && errors.Is(err, hub.ErrUnavailable) && out[0].Refused:
				return n
			default:
				t.Fatal(err)
			}
		}
	}
	dead, stuck := hub.NewProcessID(), hub.NewProcessID()
	if n := fill(dead); n != 6 {
		t.Errorf("the first took %d of 12", n)
	}
	if n := fill(stuck); n != 3 {
		t.Errorf("the second took %d of 6", n)
	}
	// To all three only the one that is well gets it.
	out := []Outgoing{{To: dead, Body: body}, {To: well.id, Body: number(0)}, {To: stuck, Body: body}}
	if err := s.relay.Send(until(t), out); err != nil || !out[0].Refused || out[1].Refused || !out[2].Refused {
		t.Errorf("%v; refused %t %t %t", err, out[0].Refused, out[1].Refused, out[2].Refused)
	}
	well.want(t, 1)
	if n := testutil.ToFloat64(s.relay.metrics.refused); n != 4 {
		t.Errorf("refused counter is %v, want 4", n)
	}
	if largest := s.relay.usage().largest; largest != 6*costOf(body) {
		t.Errorf("largest share %d", largest)
	}
	if bodies := s.relay.Abandon(dead); len(bodies) != 6 {
		t.Errorf("%d messages abandoned, want 6", len(bodies))
	}
	s.relay.Abandon(stuck)
	for ctx := until(t); s.relay.retained() != 0 && ctx.Err() == nil; {
		time.Sleep(grain)
	}
	if kept := s.relay.retained(); kept != 0 {
		t.Errorf("%v bytes kept after that, want 0", kept)
	}
}

func TestAtMostOnceTellsTheCaller(t *testing.T) {
	r, servers := shards(t, 1)
	cfg := defaults
	cfg.AtMostOnce = true
	keys := hub.NewKeys(redistest.Prefix(t))
	s, p := newProcess(t, cfg, r, keys), newProcess(t, cfg, r, keys)
	if err := s.relay.Send(until(t), []Outgoing{{To: p.id, Body: number(0)}}); err != nil {
		t.Fatal(err)
	}
	p.want(t, 1)
	servers[0].Kill()
	err := s.relay.Send(until(t), []Outgoing{{To: p.id, Body: number(1)}})
	if !errors.Is(err, ErrUnsent) || !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("with every shard down: %v, want ErrUnsent and hub.ErrUnavailable", err)
	}
}

func TestCanariesProveTheWay(t *testing.T) {
	r, _ := shards(t, 1)
	p := newProcess(t, defaults, r, hub.NewKeys(redistest.Prefix(t)))
	ctx := until(t)
	for p.relay.Ready() != nil {
		if ctx.Err() != nil {
			t.Fatalf("not ready: %v", p.relay.Ready())
		}
		time.Sleep(10 * time.Millisecond)
	}
	// A server that forwards nothing: the probes go where nobody listens.
	deaf := newRelay(defaults, hub.NewKeys("elsewhere"), p.id, modelLog, prometheus.NewRegistry())
	deaf.network.lanes, deaf.sub = p.relay.network.lanes, p.relay.sub
	deaf.canaries = newCanaries(deaf.network, deaf.metrics)
	probing, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- deaf.canaries.run(probing, deaf.leave, deaf.seek) }()
	left := func() bool {
		deaf.canaries.mu.Lock()
		defer deaf.canaries.mu.Unlock()
		return !deaf.canaries.path[0].left.IsZero()
	}
	for !left() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil || ctx.Err() != nil {
		t.Fatalf("the server was not left: %v, %v", err, ctx.Err())
	}
	if deaf.Ready() == nil {
		t.Error("ready although no canary came back")
	}
	if lost := testutil.ToFloat64(deaf.metrics.canaryLost.WithLabelValues(deaf.network.lanes[0].name)); lost < 2 {
		t.Errorf("%v canaries counted as lost, want at least 2", lost)
	}
}
