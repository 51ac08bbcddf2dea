package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// holds returns the ids of what inboxes hold of wants, "-" for nothing.
func (b *box) holds(wants ...Want) (ids string) {
	b.t.Helper()
	found, err := b.Held(b.t.Context(), wants)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, m := range found {
		id := "-"
		if m != nil {
			if id = m.ID; string(m.Payload) != "payload of "+m.ID {
				b.t.Errorf("%s has the payload %s", m.ID, m.Payload)
			}
		}
		ids += id + " "
	}
	return ids
}

// TestHeld: what was acknowledged, has expired, was pushed out or never there is not
// held; what a busy inbox has forgotten the id of is.
func TestHeld(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.MaxCount = 3 })
	b.store("a", hub.ClassMust, time.Hour, "ann", "bob")
	b.store("b", hub.ClassLatest, time.Hour, "ann")
	b.store("short", hub.ClassMust, 50*time.Millisecond, "ann")
	if err := b.Ack(t.Context(), "bob", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond)
	if got, want := b.holds(Want{"ann", "a"}, Want{"bob", "a"}, Want{"ann", "b"}, Want{"ann", "short"}, Want{"ann", "c"}, Want{"eve", "a"}), "a - b - - - "; got != want {
		t.Errorf("held %q, want %q", got, want)
	}
	if got := b.holds(); got != "" {
		t.Errorf("held %q of nothing", got)
	}
	for i := range 3 {
		b.store(fmt.Sprint("n", i), hub.ClassMust, time.Hour, "ann")
	}
	if got, want := b.holds(Want{"ann", "a"}, Want{"ann", "n2"}), "- n2 "; got != want {
		t.Errorf("held %q, want %q", got, want)
	}
}

// TestHeldOfAForgottenID: a must that waits for longer than the ids remember.
func TestHeldOfAForgottenID(t *testing.T) {
	t.Parallel()
	b := newBox(t, func(c *Config) { c.MaxCount = 3 })
	b.store("old", hub.ClassMust, time.Hour, "ann")
	for i := range 6 {
		id := fmt.Sprint("n", i)
		b.store(id, hub.ClassMust, time.Hour, "ann")
		if err := b.Ack(t.Context(), "ann", []string{id}); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.holds(Want{"ann", "old"}); got != "old " {
		t.Errorf("held %q", got)
	}
}

// TestHeldWhileShardsGrow: both homes of an inbox are asked.
func TestHeldWhileShardsGrow(t *testing.T) {
	t.Parallel()
	old, added := redistest.Server(t), redistest.Server(t)
	before := newBox(t, nil, old)
	var wants []Want
	for i := range 20 {
		user := hub.UserID(fmt.Sprint("user", i))
		before.store("before", hub.ClassMust, time.Hour, user)
		wants = append(wants, Want{user, "before"}, Want{user, "after"})
	}
	after := before.another(func(c *redisx.Config) { c.Inbox, c.InboxPrevious = []string{old, added}, []string{old} })
	var want string
	for i := range 20 {
		after.store("after", hub.ClassMust, time.Hour, hub.UserID(fmt.Sprint("user", i)))
		want += "before after "
	}
	if got := after.holds(wants...); got != want {
		t.Errorf("held %q", got)
	}
}
