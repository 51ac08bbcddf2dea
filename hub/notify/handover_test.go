package notify

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/relay"
)

// mute is a process that receives and confirms nothing, as one that hangs.
func (w *world) mute(t *testing.T) *process {
	t.Helper()
	p := newHolder(t, w.redis, w.keys)
	newRelay(t, w.redis, w.keys, p.id, func(*relay.Message) bool { return true })
	return p
}

// leaver is a process whose users have left when a notification arrives.
func (w *world) leaver(t *testing.T) *process {
	t.Helper()
	p := newHolder(t, w.redis, w.keys)
	rc := NewReceiver(func(body []byte, _ bool, done func(hub.Outcome)) bool {
		d, err := hub.ParseEnvelope(body)
		if err != nil {
			t.Error(err)
		}
		o := hub.Outcome{Shared: d.Shared}
		for u := range d.Users {
			o.Missed = append(o.Missed, hub.UserID(u))
		}
		go done(o)
		return true
	}, quiet, prometheus.NewRegistry())
	rl := newRelay(t, w.redis, w.keys, p.id, rc.Handle)
	running(t, func(ctx context.Context) error { return rc.Run(ctx, rl) })
	return p
}

func (w *world) notify(t *testing.T, id string, users ...hub.UserID) {
	t.Helper()
	if _, err := w.dispatcher.Notify(until(t), &hub.Notification{ID: id, Users: users, Data: []byte(`1`)}); err != nil {
		t.Fatal(err)
	}
}

// leave has p hold the users no longer.
func (p *process) leave(t *testing.T, users ...hub.UserID) {
	t.Helper()
	done := make(chan error, len(users))
	for _, u := range users {
		p.registrar.Set(u, nil, func(err error) { done <- err })
	}
	for range users {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatADeadProcessDidNotConfirmIsHandedOver(t *testing.T) {
	w := newWorld(t)
	dead, alive := w.mute(t), newProcess(t, w.redis, w.keys)
	dead.hold(t, "", "alice", "bob")
	w.notify(t, "n1", "alice", "bob")
	if err := dead.registrar.Close(until(t)); err != nil {
		t.Fatal(err)
	}
	alive.hold(t, "", "alice") // back at once
	if _, users := alive.next(t); !cmp.Equal(users, []string{"alice"}) {
		t.Fatalf("handed over to %v, want alice", users)
	}
	alive.hold(t, "", "bob") // back later
	d, users := alive.next(t)
	if !cmp.Equal(users, []string{"bob"}) || string(d.ID) != "n1" || d.Age <= 0 {
		t.Fatalf("handed over %s aged %v to %v, want n1 to bob", d.ID, d.Age, users)
	}
	alive.wantNothing(t)
}

func TestUsersWhoMovedAreReachedWhereTheyAre(t *testing.T) {
	w := newWorld(t)
	old, now := w.leaver(t), newProcess(t, w.redis, w.keys)
	old.hold(t, "", "alice", "bob")
	now.hold(t, "", "bob") // a second device
	w.notify(t, "n1", "alice", "bob")
	d, users := now.next(t)
	if !cmp.Equal(users, []string{"bob"}) || d.Shared != 1 || d.Age != 0 {
		t.Fatalf("first %v, shared %d, aged %v; want bob, shared", users, d.Shared, d.Age)
	}
	old.leave(t, "alice", "bob")
	now.hold(t, "", "alice")
	got := map[string]int{}
	for range 2 { // in one envelope or two
		d, users := now.next(t)
		for i, u := range users {
			got[u] = max(got[u], 1)
			if d.Shared > 0 && i >= len(users)-d.Shared {
				got[u] = 2
			}
		}
		if d.Age <= 0 {
			t.Errorf("handed over without its age")
		}
		if len(got) == 2 {
			break
		}
	}
	if d := cmp.Diff(map[string]int{"alice": 1, "bob": 2}, got); d != "" {
		t.Errorf("handed over, 2 for shared (-want +got):\n%s", d)
	}
	time.Sleep(2 * handoverTick)
	now.wantNothing(t)
}
