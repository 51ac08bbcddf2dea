package leader

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// candidate is a process that would lead.
type candidate struct {
	*Lease

	stop func() // in good order; it returns when Run has
}

func stand(t *testing.T, r *redisx.Redis, keys hub.Keys, id string) *candidate {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &candidate{Lease: New(r, keys, id, DefaultTiming(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	c.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(c.stop)
	return c
}

func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

func TestOneLeadsAndGivesBack(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	a := stand(t, r, keys, "a")
	eventually(t, "a to lead", func() bool { return a.Term() == 1 })
	b := stand(t, r, keys, "b")
	eventually(t, "b to know of it", func() bool { who, err := b.Holder(); return who == "a" && err == nil })
	if n := b.Term(); n != 0 {
		t.Errorf("b leads in term %d", n)
	}
	changed := b.Changed()
	a.stop()
	<-changed
	if b.Term() != 2 || a.Term() != 0 {
		t.Errorf("a leads in %d, b in %d", a.Term(), b.Term())
	}
}

// TestALeaderThatIsCutOff stops acting before another one begins.
func TestALeaderThatIsCutOff(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	keys := hub.NewKeys(cfg.Prefix)
	ctx, cut := context.WithCancel(t.Context())
	alone := redistest.Open(t, cfg)
	a := New(alone, keys, "a", DefaultTiming(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	a.attempt(ctx)
	if a.Term() != 1 {
		t.Fatal("a does not lead")
	}
	cut() // it renews no more
	b := stand(t, redistest.Open(t, cfg), keys, "b")
	stopped := eventually(t, "a to stop", func() bool { return a.Term() == 0 })
	if b.Term() != 0 {
		t.Error("b leads already when a stops")
	}
	took := stopped + eventually(t, "b to lead", func() bool { return b.Term() == 2 })
	t.Logf("a stops after %v, b leads after %v", stopped, took)
}

// TestTermsNeverGoBack though Redis has lost all that it knew.
func TestTermsNeverGoBack(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	r, keys := redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix)
	a := stand(t, r, keys, "a")
	eventually(t, "a to lead", func() bool { return a.Term() == 1 })
	master, err := r.Data.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Del(t.Context(), keys.Fleet("leader"), keys.FleetTerm()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a to lead again", func() bool { return a.Term() == 2 })
	if got := master.Get(t.Context(), keys.FleetTerm()).Val(); got != "2" {
		t.Errorf("Redis has term %q", got)
	}
	// An old copy of the lease, which a failover has brought back.
	if err := master.Set(t.Context(), keys.Fleet("leader"), "1 a", time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a to have found it", func() bool { return a.Term() == 0 })
	eventually(t, "a to lead under a new term", func() bool { return a.Term() == 3 })
}

// TestLeadershipOutlivesAFailover of data Redis: one leads at any time.
func TestLeadershipOutlivesAFailover(t *testing.T) {
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}})
	cfg := redistest.TopologyConfig(t, top)
	keys := hub.NewKeys(cfg.Prefix)
	a := stand(t, redistest.Open(t, cfg), keys, "a")
	eventually(t, "a to lead", func() bool { return a.Term() == 1 })
	b := stand(t, redistest.Open(t, cfg), keys, "b")
	quit, both := make(chan struct{}), make(chan bool)
	go func() {
		bad := false
		for {
			select {
			case <-quit:
				both <- bad
				return
			case <-time.After(time.Millisecond):
				x, y := a.Term(), b.Term()
				bad = bad || x != 0 && y != 0 || x != 0 && x == y
			}
		}
	}()
	top.Groups[0].Master.Kill()
	time.Sleep(DefaultTiming().Period)
	took := eventually(t, "somebody to lead", func() bool { return a.Term() != 0 || b.Term() != 0 })
	t.Logf("somebody leads %v after the master was killed", DefaultTiming().Period+took)
	close(quit)
	if <-both {
		t.Error("both led")
	}
}
