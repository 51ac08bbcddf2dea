package notify

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/index"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/hub/relay"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// crowd is a process that tells how many connections heard a broadcast.
func (w *world) crowd(t *testing.T, connections int) *process {
	t.Helper()
	p := newHolder(t, w.redis, w.keys)
	newRelay(t, w.redis, w.keys, p.id, func(m *relay.Message) bool {
		p.envelopes <- m.Body
		o := hub.Outcome{Heard: connections}
		m.Done(o.Reply(hub.KindOf(m.Body)))
		return true
	})
	return p
}

// TestBroadcastCountsWhoHears: the reply has the connections that the processes
// tell of, not those of a lease that is older than they are.
func TestBroadcastCountsWhoHears(t *testing.T) {
	w := newWorld(t)
	one, two, mute := w.crowd(t, 3), w.crowd(t, 40), w.mute(t)
	one.hold(t, "", "alice")
	two.hold(t, "", "bob")
	mute.hold(t, "", "carol") // its lease says that it has no connections
	rested := 0
	n := &hub.Notification{ID: "b1", Data: []byte(`"hi"`), Sent: func() { rested++ }}
	sum, err := w.dispatcher.Broadcast(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hub.Summary{ID: "b1", Targets: 43, Online: 43, Processes: 3}, sum); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	if rested != 1 {
		t.Errorf("said %d times that it waits", rested)
	}
}

// TestBroadcastWithoutLeases: who has never read them knows of nobody.
func TestBroadcastWithoutLeases(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	r := redistest.Open(t, redistest.Config(t, "redis://"+server.Addr()))
	server.Kill()
	keys, reg := hub.NewKeys(redistest.Prefix(t)), prometheus.NewRegistry()
	rl := prepareRelay(t, r, keys, hub.NewProcessID())
	census := lease.NewCensus(r, keys, rl.Witness(), lease.DefaultTiming(), quiet, reg)
	d, _ := New(Deps{Census: census, Index: index.New(r, census, keys, quiet, reg), Relay: rl, Log: quiet, Registry: reg})
	if sum, err := d.Broadcast(until(t), &hub.Notification{ID: "b1", Data: []byte(`1`)}); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("%+v, %v; want hub.ErrUnavailable", sum, err)
	}
}

// TestOneStuckProcessDoesNotShutOutOthers: what is for a process that confirms
// nothing is refused when it has its share, and the others hear theirs.
func TestOneStuckProcessDoesNotShutOutOthers(t *testing.T) {
	cfg := relayConfig(t)
	cfg.Memory = 1 << 20
	w := newWorldWith(t, cfg)
	stuck, well := w.mute(t), newProcess(t, w.redis, w.keys)
	stuck.hold(t, "", "alice", "both")
	well.hold(t, "", "bob", "both")
	large := []byte(`"` + strings.Repeat("x", 60<<10) + `"`)
	var err error
	for range 20 {
		if _, err = w.dispatcher.Notify(until(t), &hub.Notification{ID: "fill", Users: []hub.UserID{"alice"}, Data: large}); err != nil {
			break
		}
	}
	if !errors.Is(err, hub.ErrUnavailable) {
		t.Fatalf("to the stuck one alone: %v, want hub.ErrUnavailable", err)
	}
	n := &hub.Notification{ID: "n1", Users: []hub.UserID{"alice", "bob", "both", "nobody"}, Data: large}
	sum, err := w.dispatcher.Notify(until(t), n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(hub.Summary{ID: "n1", Targets: 4, Online: 2, Offline: 1, Unavailable: 1, Processes: 1}, sum); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	if _, users := well.next(t); !cmp.Equal(users, []string{"bob", "both"}) {
		t.Errorf("told %v", users)
	}
	if sum, err := w.dispatcher.Broadcast(until(t), &hub.Notification{ID: "b1", Data: large}); err != nil || sum.Processes != 1 {
		t.Errorf("broadcast: %+v, %v", sum, err)
	}
}

// TestOneHandoverAfterTheOtherDoesNotWaitForRedis: while Redis does not answer, what
// is given back is not looked for one by one.
func TestOneHandoverAfterTheOtherDoesNotWaitForRedis(t *testing.T) {
	r := redistest.Open(t, redistest.Config(t, redistest.Server(t)))
	census := lease.NewCensus(r, hub.NewKeys("x"), nil, lease.DefaultTiming(), quiet, nil) // never read
	ix := index.New(r, census, hub.NewKeys("x"), quiet, prometheus.NewRegistry())
	_, d := New(Deps{Census: census, Index: ix, Log: quiet})
	begun := time.Now()
	attempt := func(at time.Time) (looked bool) {
		t.Helper()
		before := d.lookAfter
		h := &handover{envelope: hub.Envelope{Kind: hub.KindNotify, Users: []hub.UserID{"alice"}}, accepted: begun}
		if !d.attempt(t.Context(), nil, h, at) || h.next.IsZero() {
			t.Error("it is given up")
		}
		return !d.lookAfter.Equal(before)
	}
	if !attempt(begun) {
		t.Fatal("it was not looked for, or found")
	}
	if attempt(d.lookAfter.Add(-1)) {
		t.Error("the next was looked for at once")
	}
	if !attempt(d.lookAfter) {
		t.Error("after a moment nobody was looked for")
	}
}

// TestHandoversAreBoundedInBytes: what is too much stays with whoever has it.
func TestHandoversAreBoundedInBytes(t *testing.T) {
	var d Handovers
	e := hub.Envelope{Kind: hub.KindMissed, ID: "n1", Users: []hub.UserID{"alice"}, Payload: make([]byte, 1<<20)}
	body := e.Append(nil)
	v, err := hub.ParseEnvelope(body)
	if err != nil {
		t.Fatal(err)
	}
	next := func() *handover {
		h, topics := takeOver(&v, body, time.Time{})
		if topics != nil {
			t.Fatal("a user is taken for a topic")
		}
		return h
	}
	var taken []*handover
	for h := next(); d.takeUp(h); h = next() {
		taken = append(taken, h)
	}
	if n := len(taken); n < maxHandoverBytes/(3<<20) || n > maxHandoverBytes/(2<<20) {
		t.Errorf("took %d of 1 MiB up", n)
	}
	if d.takeUp(next()) {
		t.Error("took one more up")
	}
	for _, h := range taken {
		d.layDown(h)
	}
	if d.count.Load() != 0 || d.bytes.Load() != 0 {
		t.Errorf("left %d with %d bytes", d.count.Load(), d.bytes.Load())
	}
}
