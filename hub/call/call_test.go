package call

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peers starts two processes on one Redis, of which the second carries methods out.
func peers(t *testing.T, methods map[string]Handler) (asker *Peer, other hub.ProcessID) {
	t.Helper()
	cfg := redistest.Config(t, redistest.Server(t))
	r := redistest.Open(t, cfg)
	asker, _ = peer(t, r, hub.NewKeys(cfg.Prefix), nil)
	_, other = peer(t, r, hub.NewKeys(cfg.Prefix), methods)
	return asker, other
}

func peer(t *testing.T, r *redisx.Redis, keys hub.Keys, methods map[string]Handler) (*Peer, hub.ProcessID) {
	t.Helper()
	id, log, reg := hub.NewProcessID(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	rl := relay.New(relay.Config{Window: 10 * time.Second, Memory: 64 << 20, RetransmitTimeout: 250 * time.Millisecond}, r, keys, id, log, reg)
	p := NewPeer(methods, nil, log, reg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	other := func(m *relay.Message) bool { m.Done(nil); return true }
	wg.Go(func() { _ = rl.Run(ctx, relay.Upper{Handle: p.Handle(other)}) })
	wg.Go(func() { _ = p.Run(ctx, rl) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	if err := rl.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p, id
}

func TestAsk(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 300_000) // far above what a reply of the relay holds
	var panicked atomic.Bool
	asker, other := peers(t, map[string]Handler{
		"echo": func(_ context.Context, _ hub.ProcessID, body []byte) ([]byte, error) { return body, nil },
		"refuse": func(context.Context, hub.ProcessID, []byte) ([]byte, error) {
			return nil, &RefusalError{Code: "no", Detail: "why"}
		},
		"invalid": func(context.Context, hub.ProcessID, []byte) ([]byte, error) {
			return nil, hub.Invalid("users[3]", "bad")
		},
		"away": func(context.Context, hub.ProcessID, []byte) ([]byte, error) { return nil, hub.ErrUnavailable },
		"fail": func(context.Context, hub.ProcessID, []byte) ([]byte, error) { return nil, errors.New("a fault") },
		"panic": func(context.Context, hub.ProcessID, []byte) ([]byte, error) {
			panicked.Store(true)
			panic("a fault")
		},
		"late": func(ctx context.Context, _ hub.ProcessID, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"sleep": func(ctx context.Context, _ hub.ProcessID, _ []byte) ([]byte, error) {
			<-ctx.Done() // ends before the asker gives up
			return []byte("woken"), nil
		},
	})
	for _, body := range [][]byte{nil, []byte("hello"), big} {
		if answer, err := asker.Ask(t.Context(), other, "echo", body); err != nil || !bytes.Equal(answer, body) {
			t.Errorf("%d bytes: %d bytes, %v", len(body), len(answer), err)
		}
	}
	var refused *RefusalError
	if _, err := asker.Ask(t.Context(), other, "refuse", nil); !errors.As(err, &refused) || *refused != (RefusalError{Code: "no", Detail: "why"}) {
		t.Errorf("%v", err)
	}
	if _, err := asker.Ask(t.Context(), other, "invalid", nil); !errors.As(err, &refused) || refused.Field != "users[3]" || !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("%v", err)
	}
	if _, err := asker.Ask(t.Context(), other, "away", nil); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	for method, want := range map[string]string{"fail": "a fault", "panic": "panicked", "nonsense": "unknown_method"} {
		if _, err := asker.Ask(t.Context(), other, method, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", method, err)
		}
	}
	if !panicked.Load() {
		t.Error("nobody has panicked")
	}
	short, end := context.WithTimeout(t.Context(), time.Second)
	defer end()
	if _, err := asker.Ask(short, other, "late", nil); !errors.As(err, &refused) || !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if answer, err := asker.Ask(ctx, other, "sleep", nil); err != nil || string(answer) != "woken" {
		t.Errorf("%q, %v", answer, err)
	}
}

// TestNobodyAnswers has an ask to a process that is not there end in time, and leave
// nothing behind.
func TestNobodyAnswers(t *testing.T) {
	asker, _ := peers(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := asker.Ask(ctx, hub.NewProcessID(), "echo", nil); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	if len(asker.open) > 0 {
		t.Errorf("%d asks are kept", len(asker.open))
	}
}

// TestFull has asks refused when too many wait, and the others carried out.
func TestFull(t *testing.T) {
	var done atomic.Int64
	block := make(chan struct{})
	asker, other := peers(t, map[string]Handler{"wait": func(context.Context, hub.ProcessID, []byte) ([]byte, error) {
		<-block
		done.Add(1)
		return nil, nil
	}})
	const asks = maxServed + maxWaiting + 500
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range asks {
		wg.Go(func() {
			if _, err := asker.Ask(t.Context(), other, "wait", nil); errors.Is(err, hub.ErrUnavailable) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	for deadline := time.Now().Add(10 * time.Second); refused.Load() < 500 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	close(block)
	wg.Wait()
	if refused.Load() != 500 || done.Load() != asks-500 {
		t.Errorf("%d carried out, %d refused, of %d", done.Load(), refused.Load(), asks)
	}
}

func TestMessages(t *testing.T) {
	for _, m := range []message{
		{kind: kindAsk, id: 7, patience: time.Second, method: "room.open", body: []byte("x")},
		{kind: kindAnswer, id: 1 << 60, body: []byte{}},
		{kind: kindRefusal, id: 0, body: []byte("{}")},
	} {
		got, err := parse(m.bytes())
		if err != nil || got.kind != m.kind || got.id != m.id || got.patience != m.patience || got.method != m.method || !bytes.Equal(got.body, m.body) {
			t.Errorf("%+v: %+v, %v", m, got, err)
		}
	}
	for _, b := range [][]byte{nil, {version}, {version, 9, 1}, {1, 1, 1}, {version, 1}, {version, 1, 1, 1, 200}, {version, 1, 1, 1, 100, 'x'}} {
		if _, err := parse(b); err == nil {
			t.Errorf("%v was taken for a message", b)
		}
	}
	long := message{kind: kindAsk, patience: 24 * time.Hour}
	if got, err := parse(long.bytes()); err != nil || got.patience != maxPatience {
		t.Errorf("%+v, %v", got, err)
	}
}
