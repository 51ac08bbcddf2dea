package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// remember has o serve one request under id, and returns the refusal.
func remember(t *testing.T, o *Once, scope, id string, size int) *hub.RoomError {
	t.Helper()
	state, _, err := o.Begin(until(t), scope, id, mine)
	if refused, ok := errors.AsType[*hub.RoomError](err); ok {
		if errors.Is(err, hub.ErrUnavailable) || refused.Pot != hub.PotOnce || refused.After <= 0 {
			t.Errorf("refused with %v", err)
		}
		return refused
	}
	if err != nil || state != hub.OnceFresh {
		t.Fatalf("%s: %v, %v; want it fresh", id, state, err)
	}
	if err := o.Finish(until(t), scope, id, mine, []byte(strings.Repeat("r", size))); err != nil {
		t.Fatal(err)
	}
	return nil
}

// One key's remembered requests have an end, at whichever API server it asks;
// what is remembered is told all the same, and other keys are not concerned.
func TestOnceQuota(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	client := server.Client()
	defer client.Close()
	cfg, keys := redistest.Config(t, "redis://"+server.Addr()), hub.NewKeys("t")
	open := func() *Once {
		o := NewOnce(OnceConfig{KeyBytes: 20_000}, redistest.Open(t, cfg), keys, prometheus.NewRegistry())
		running(t, o.Run)
		return o
	}
	here, there := open(), open()
	n := 0
	var refused *hub.RoomError
	for ; refused == nil && n < 100; n++ {
		refused = remember(t, []*Once{here, there}[n%2], "game", fmt.Sprint("id-", n), 1000)
	}
	if n < 15 || n > 20 || refused.Account != "game" {
		t.Fatalf("refused at request %d with %+v, want about 17 to fit in 20,000 bytes", n, refused)
	}
	counted := testutil.ToFloat64(here.metrics.refusedQuota) + testutil.ToFloat64(there.metrics.refusedQuota)
	if counted != 1 {
		t.Errorf("%v refusals counted, want 1", counted)
	}
	if client.Exists(t.Context(), keys.Once("game", fmt.Sprint("id-", n-1))).Val() != 0 {
		t.Error("the refused request holds its id")
	}
	if state, _, err := there.Begin(until(t), "game", "id-0", mine); err != nil || state != hub.OnceDone {
		t.Errorf("a repeat: %v, %v; want its reply", state, err)
	}
	if refused := remember(t, here, "shop", "id-0", 1000); refused != nil {
		t.Errorf("another key: %v", refused)
	}
	if ttl := client.TTL(t.Context(), keys.OnceAccount("game")).Val(); ttl <= 0 || ttl > onceKept+3*accountStep {
		t.Errorf("the account is kept for %v", ttl)
	}
}

// A data server above its watermark remembers nothing new, and tells what it
// does remember.
func TestOnceAboveTheWatermark(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	client := server.Client()
	defer client.Close()
	cfg, keys := redistest.Config(t, "redis://"+server.Addr()), hub.NewKeys("t")
	open := func() *Once {
		o := NewOnce(OnceConfig{Watermark: 0.8}, redistest.Open(t, cfg), keys, prometheus.NewRegistry())
		running(t, o.Run)
		return o
	}
	if refused := remember(t, open(), "game", "old", 10); refused != nil {
		t.Fatal(refused)
	}
	if err := client.Set(t.Context(), "other tenant", strings.Repeat("x", 36<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "44mb").Err(); err != nil {
		t.Fatal(err)
	}
	o := open() // looks at the memory as it starts
	if refused := remember(t, o, "game", "new", 10); refused == nil || refused.Account != "" {
		t.Errorf("%+v, want no room for anybody", refused)
	}
	if n := testutil.ToFloat64(o.metrics.refusedFull); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
	if state, _, err := o.Begin(until(t), "game", "old", mine); err != nil || state != hub.OnceDone {
		t.Errorf("a repeat: %v, %v; want its reply", state, err)
	}
}

func TestTakenForgetsWhatHasLapsed(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	at := func(d time.Duration) string { return fmt.Sprint(step(now.Add(d))) }
	sum, lapsed := taken(map[string]string{
		at(-accountStep): "1", at(0): "2", at(accountStep): "4", at(10 * accountStep): "8", "junk": "16",
	}, now)
	if sum != 12 || len(lapsed) != 3 {
		t.Errorf("%d taken and %q lapsed, want 12 and three", sum, lapsed)
	}
}

func TestOnceConfigValidate(t *testing.T) {
	for want, c := range map[string]OnceConfig{
		"idempotency.key-bytes: -1": {KeyBytes: -1},
		"idempotency.watermark: 2":  {Watermark: 2},
	} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want+": ") {
			t.Errorf("%v, want an error that begins with %s", err, want)
		}
	}
}
