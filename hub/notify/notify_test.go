package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func until(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

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

// process is a front worker without sockets: it holds users and keeps the
// envelopes it receives.
type process struct {
	id        hub.ProcessID
	registrar *index.Registrar
	standing  *lease.Standing
	envelopes chan []byte
}

func newProcess(t *testing.T, r *redisx.Redis, keys hub.Keys) *process {
	t.Helper()
	p := newHolder(t, r, keys)
	newRelay(t, r, keys, p.id, func(m *relay.Message) bool {
		p.envelopes <- m.Body
		m.Done(nil)
		return true
	})
	return p
}

// newHolder is a process without a relay.
func newHolder(t *testing.T, r *redisx.Redis, keys hub.Keys) *process {
	t.Helper()
	p := &process{id: hub.NewProcessID(), envelopes: make(chan []byte, 100)}
	self := hub.Process{ID: p.id, Node: "test", Role: hub.RoleFront}
	p.standing = lease.NewStanding(lease.Config{}, lease.DefaultTiming(), quiet)
	p.registrar = index.NewRegistrar(r, keys, self, p.standing, quiet, prometheus.NewRegistry())
	running(t, p.registrar.Run)
	return p
}

func newRelay(t *testing.T, r *redisx.Redis, keys hub.Keys, self hub.ProcessID, h relay.Handler) *relay.Relay {
	t.Helper()
	rl := prepareRelay(t, r, keys, self)
	startRelay(t, rl, relay.Upper{Handle: h})
	return rl
}

// prepareRelay makes a relay that does not run yet.
func prepareRelay(t *testing.T, r *redisx.Redis, keys hub.Keys, self hub.ProcessID) *relay.Relay {
	t.Helper()
	return relay.New(relayConfig(t), r, keys, self, quiet, prometheus.NewRegistry())
}

func relayConfig(t *testing.T) relay.Config {
	t.Helper()
	var cfg relay.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func startRelay(t *testing.T, rl *relay.Relay, upper relay.Upper) {
	t.Helper()
	running(t, func(ctx context.Context) error { return rl.Run(ctx, upper) })
	if err := rl.WaitReady(until(t)); err != nil {
		t.Fatal(err)
	}
}

// hold has p hold one connection of each user, from service.
func (p *process) hold(t *testing.T, service hub.Service, users ...hub.UserID) {
	t.Helper()
	done := make(chan error, len(users))
	for _, u := range users {
		p.registrar.Set(u, []hub.ServiceCount{{Service: service, Count: 1}}, func(err error) { done <- err })
	}
	for range users {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// next returns the next envelope and its users.
func (p *process) next(t *testing.T) (hub.Delivery, []string) {
	t.Helper()
	select {
	case b := <-p.envelopes:
		d, err := hub.ParseEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		var users []string
		for u := range d.Users {
			users = append(users, string(u))
		}
		slices.Sort(users)
		return d, users
	case <-until(t).Done():
		t.Fatal("no envelope arrived")
	}
	panic("unreachable")
}

func (p *process) wantNothing(t *testing.T) {
	t.Helper()
	select {
	case b := <-p.envelopes:
		t.Errorf("an envelope arrived: %q", b)
	case <-time.After(50 * time.Millisecond):
	}
}

// world is a Redis with a dispatcher on it.
type world struct {
	redis      *redisx.Redis
	server     *redisproc.Server
	keys       hub.Keys
	dispatcher *Dispatcher
	handovers  *Handovers
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, relayConfig(t))
}

func newWorldWith(t *testing.T, cfg relay.Config) *world {
	t.Helper()
	server := redistest.Process(t, redisproc.ServerOptions{})
	r := redistest.Open(t, redistest.Config(t, "redis://"+server.Addr()))
	w := &world{redis: r, server: server, keys: hub.NewKeys(redistest.Prefix(t))}
	reg := prometheus.NewRegistry()
	rl := relay.New(cfg, r, w.keys, hub.NewProcessID(), quiet, prometheus.NewRegistry())
	census := lease.NewCensus(r, w.keys, rl.Witness(), lease.DefaultTiming(), quiet, reg)
	ix := index.New(r, census, w.keys, quiet, reg)
	running(t, ix.Run)
	w.dispatcher, w.handovers = New(Deps{Census: census, Index: ix, Relay: rl, Log: quiet, Registry: reg})
	startRelay(t, rl, relay.Upper{Handle: w.handovers.Handle, GivenUp: w.handovers.GivenUp, Judge: census})
	running(t, census.Run)
	running(t, w.handovers.Run)
	if err := census.WaitReady(until(t)); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestNotifyTellsTheProcessesThatHoldTheUsers(t *testing.T) {
	w := newWorld(t)
	one, two := newProcess(t, w.redis, w.keys), newProcess(t, w.redis, w.keys)
	one.hold(t, "chess", "alice", "bob")
	two.hold(t, "go", "bob", "carol")

	n := &hub.Notification{ID: "n1", Users: []hub.UserID{"alice", "bob", "carol", "dave", "bob"}, Type: "gift", Data: []byte(`{"a":1}`)}
	sum, err := w.dispatcher.Notify(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hub.Summary{ID: "n1", Targets: 4, Online: 3, Offline: 1, Processes: 2}, sum); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	for p, want := range map[*process][]string{one: {"alice", "bob"}, two: {"bob", "carol"}} {
		d, users := p.next(t)
		if diff := cmp.Diff(want, users); diff != "" {
			t.Errorf("users (-want +got):\n%s", diff)
		}
		if want := `{"t":"notify","id":"n1","type":"gift","data":{"a":1}}`; string(d.Payload) != want {
			t.Errorf("payload %s, want %s", d.Payload, want)
		}
		p.wantNothing(t)
	}
}

func TestNotifyReachesOnlyTheServicesNamed(t *testing.T) {
	w := newWorld(t)
	one, two := newProcess(t, w.redis, w.keys), newProcess(t, w.redis, w.keys)
	one.hold(t, "chess", "alice")
	two.hold(t, "go", "alice")
	n := &hub.Notification{ID: "n1", Users: []hub.UserID{"alice"}, Services: []hub.Service{"go"}, Data: []byte(`1`)}
	sum, err := w.dispatcher.Notify(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Processes != 1 || sum.Online != 1 {
		t.Errorf("summary %+v, want one process and one user online", sum)
	}
	if d, _ := two.next(t); string(d.Services[0]) != "go" {
		t.Errorf("services %q, want go", d.Services)
	}
	one.wantNothing(t)
}

func TestBroadcastTellsEveryFrontProcess(t *testing.T) {
	w := newWorld(t)
	one, two := newProcess(t, w.redis, w.keys), newProcess(t, w.redis, w.keys)
	one.hold(t, "", "alice")
	two.hold(t, "", "bob")
	sum, err := w.dispatcher.Broadcast(until(t), &hub.Notification{ID: "b1", Data: []byte(`"hi"`)})
	if err != nil || sum.Processes != 2 {
		t.Fatalf("broadcast: %+v, %v; want two processes", sum, err)
	}
	for _, p := range []*process{one, two} {
		if d, users := p.next(t); d.Kind != hub.KindBroadcast || len(users) != 0 {
			t.Errorf("kind %d with users %v, want a broadcast without", d.Kind, users)
		}
	}
}

func TestDisconnectAsksTheHolders(t *testing.T) {
	w := newWorld(t)
	one := newProcess(t, w.redis, w.keys)
	one.hold(t, "", "alice")
	if n, err := w.dispatcher.Disconnect(until(t), "alice", "banned"); n != 1 || err != nil {
		t.Fatalf("disconnect: %d, %v; want one process", n, err)
	}
	if d, users := one.next(t); d.Kind != hub.KindDisconnect || string(d.Payload) != "banned" || users[0] != "alice" {
		t.Errorf("got kind %d, %q for %v", d.Kind, d.Payload, users)
	}
	if n, err := w.dispatcher.Disconnect(until(t), "nobody", ""); n != 0 || err != nil {
		t.Errorf("disconnect of an absent user: %d, %v; want 0 and no error", n, err)
	}
}

func TestWithoutRedisTheCallerIsToldToTryAgain(t *testing.T) {
	w := newWorld(t)
	if h := w.dispatcher.Health(until(t)); len(h.Down) > 0 || len(h.Degraded) > 0 {
		t.Fatalf("health: %+v", h)
	}
	w.server.Kill()
	n := &hub.Notification{ID: "n1", Users: []hub.UserID{"alice"}, Data: []byte(`1`)}
	if _, err := w.dispatcher.Notify(until(t), n); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("notify: %v, want hub.ErrUnavailable", err)
	}
	if h := w.dispatcher.Health(until(t)); len(h.Down) == 0 {
		t.Errorf("health: %+v, want it down", h)
	}
}
