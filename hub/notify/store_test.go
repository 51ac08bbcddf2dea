package notify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/inbox"
)

// spy is a Storage that looks at the moment of each Store.
type spy struct {
	Storage

	before func()
	err    error
}

func (s *spy) Store(ctx context.Context, users []hub.UserID, m *hub.Stored, ttl time.Duration) error {
	if s.before != nil {
		s.before()
	}
	if s.err != nil {
		return s.err
	}
	return s.Storage.Store(ctx, users, m, ttl)
}

func newInbox(t *testing.T, w *world) *inbox.Inbox {
	t.Helper()
	var cfg inbox.Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		t.Fatal(err)
	}
	return inbox.New(cfg, w.redis, w.keys, quiet, prometheus.NewRegistry())
}

func lasting(id string, users ...hub.UserID) *hub.Notification {
	return &hub.Notification{ID: id, Users: users, Services: []hub.Service{"chess"}, Data: []byte(`1`), Store: time.Hour}
}

func TestNotifyStoresForEveryUserBeforeItLooks(t *testing.T) {
	w := newWorld(t)
	one := newProcess(t, w.redis, w.keys)
	box := newInbox(t, w)
	// Who comes while it is being stored is found: the look-up is later.
	w.dispatcher.Storage = &spy{Storage: box, before: func() { one.hold(t, "chess", "late") }}
	one.hold(t, "chess", "here")

	sum, err := w.dispatcher.Notify(until(t), lasting("n1", "here", "away", "late", "away"))
	if err != nil || sum.Targets != 3 || sum.Online != 2 || sum.Offline != 1 {
		t.Fatalf("summary %+v, %v; want 2 of 3 online", sum, err)
	}
	d, users := one.next(t)
	if len(users) != 2 || users[0] != "here" || users[1] != "late" {
		t.Errorf("told %q, want here and late", users)
	}
	for _, u := range []hub.UserID{"here", "away", "late"} {
		m, err := box.Read(until(t), u, "")
		if err != nil || len(m.Entries) != 1 {
			t.Fatalf("%s: %+v, %v; want one notification", u, m, err)
		}
		e := m.Entries[0]
		if string(e.Payload) != string(d.Payload) || e.ID != "n1" || len(e.Services) != 1 || e.Services[0] != "chess" {
			t.Errorf("%s: stored %+v, sent %s", u, e, d.Payload)
		}
	}
}

func TestWhatCannotBeStoredIsNotSent(t *testing.T) {
	w := newWorld(t)
	one := newProcess(t, w.redis, w.keys)
	one.hold(t, "chess", "ann")
	if _, err := w.dispatcher.Notify(until(t), lasting("n1", "ann")); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("without an inbox: %v, want hub.ErrInvalid", err)
	}
	box := newInbox(t, w)
	s := &spy{Storage: box, err: hub.ErrUnavailable}
	w.dispatcher.Storage = s
	if _, err := w.dispatcher.Notify(until(t), lasting("n1", "ann")); !errors.Is(err, hub.ErrUnavailable) {
		t.Errorf("with the inbox away: %v, want hub.ErrUnavailable", err)
	}
	one.wantNothing(t)
	s.err = nil
	tooLong := lasting("n1", "ann")
	tooLong.Store = hub.MaxStore
	if _, err := w.dispatcher.Notify(until(t), tooLong); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("for longer than the inbox keeps: %v, want hub.ErrInvalid", err)
	}
	one.wantNothing(t)

	// A sender that repeats has it stored once, and sent again.
	for range 2 {
		if _, err := w.dispatcher.Notify(until(t), lasting("n2", "ann")); err != nil {
			t.Fatal(err)
		}
		one.next(t)
	}
	if m, err := box.Read(until(t), "ann", ""); err != nil || len(m.Entries) != 1 {
		t.Errorf("%+v, %v; want one notification", m, err)
	}
}

func TestWithoutStoreNothingIsKept(t *testing.T) {
	w := newWorld(t)
	box := newInbox(t, w)
	w.dispatcher.Storage = box
	n := lasting("n1", "ann")
	n.Store = 0
	if _, err := w.dispatcher.Notify(until(t), n); err != nil {
		t.Fatal(err)
	}
	if m, err := box.Read(until(t), "ann", ""); err != nil || len(m.Entries) != 0 || m.Last != "" {
		t.Errorf("%+v, %v; want nothing", m, err)
	}
}
