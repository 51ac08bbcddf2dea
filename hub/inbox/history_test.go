package inbox

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// sees has b look at every mark, as Run does.
func (b *box) sees() *box {
	b.look(b.t.Context(), time.Now())
	return b
}

// flush empties user's shard.
func (b *box) flush(user hub.UserID) {
	b.on(user, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// at returns a user whose shard is the i-th.
func (b *box) at(i int) hub.UserID {
	for n := 0; ; n++ {
		if u := hub.UserID(fmt.Sprint("at-", i, "-", n)); b.role.Shard(string(u)) == b.role.Shards()[i] {
			return u
		}
	}
}

func TestAShardThatWasEmptied(t *testing.T) {
	b := newBox(t, nil).sees()
	b.want("ann", "", "")
	b.store("a", hub.ClassMust, time.Hour, "ann")
	b.flush("ann")
	b.want("ann", "", "gone:")
	b.want("bob", "", "gone:")
	b.another(nil).want("ann", "", "gone:") // it says so itself by now
	time.Sleep(2 * time.Millisecond)
	b.store("b", hub.ClassMust, time.Hour, "ann")
	b.want("ann", "", "gone: b")
	b.want("ann", "b", "b") // whoever has seen b lacks nothing
	if n := testutil.ToFloat64(b.metrics.lost.WithLabelValues(b.role.Shards()[0].Name())); n != 1 {
		t.Errorf("%v losses are counted, want 1", n)
	}
}

// TestWhoRemembersCorrectsWhoDoesNot: the first to see the empty shard is a
// process that has just begun.
func TestWhoRemembersCorrectsWhoDoesNot(t *testing.T) {
	old := newBox(t, nil).sees()
	old.flush("ann")
	young := old.another(nil)
	young.want("ann", "", "") // nobody can tell it
	old.want("ann", "", "gone:")
	old.sees()
	young.want("ann", "", "gone:")
	old.want("ann", "", "gone:")
}

func TestOtherShardsRemember(t *testing.T) {
	urls := []string{redistest.Server(t), redistest.Server(t)}
	b := newBox(t, nil, urls...).sees()
	left, right := b.at(0), b.at(1)
	b.ripen(left)
	b.flush(right)
	young := b.another(nil)
	young.want(right, "", "gone:")
	young.want(left, "", "")
}

// TestTheIndexRemembers: the inboxes have a Redis of their own.
func TestTheIndexRemembers(t *testing.T) {
	b := newBox(t, nil).another(func(rc *redisx.Config) { rc.Inbox = []string{redistest.Server(t)} }).sees()
	if err := b.r.Data.Shards()[0].Write(t.Context(), b.older); err != nil {
		t.Fatal(err)
	}
	b.flush("ann")
	b.another(nil).want("ann", "", "gone:")
}

// ripen makes the mark on user's shard older than the birth of a deployment.
func (b *box) ripen(user hub.UserID) { b.on(user, b.older) }

func (b *box) older(ctx context.Context, c *redis.Client) error {
	m := parseMark(c.Get(ctx, b.keys.InboxMark()).Val())
	m.Made -= 2 * birth.Milliseconds()
	return c.Set(ctx, b.keys.InboxMark(), m.text(), 0).Err()
}

// TestANewDeployment: several processes see it first, not all shards at once.
func TestANewDeployment(t *testing.T) {
	servers := []*redisproc.Server{redistest.Process(t, redisproc.ServerOptions{}), redistest.Process(t, redisproc.ServerOptions{})}
	one := newBox(t, nil, "redis://"+servers[0].Addr(), "redis://"+servers[1].Addr())
	two := one.another(nil)
	left, right := one.at(0), one.at(1)
	if err := servers[1].Stop(); err != nil {
		t.Fatal(err)
	}
	one.want(left, "", "gone:") // the other may know of an older life
	if err := servers[1].Cont(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); one.read(left, "") != "" && time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
	}
	for _, b := range []*box{one, two} {
		b.want(left, "", "")
		b.want(right, "", "")
	}
	// One of the marks is lost before the other is old.
	one.on(right, func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, one.keys.InboxMark()).Err() })
	one.another(nil).want(right, "", "")
}

// TestAMasterThatCameBackEmpty is noticed by Run.
func TestAMasterThatCameBackEmpty(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	b := newBox(t, nil, "redis://"+server.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	lost := func() *mark {
		c := server.Client()
		defer c.Close()
		return parseMark(c.Get(t.Context(), b.keys.InboxMark()).Val())
	}
	for b.history.recall(b.role.Shards()[0]).mark == nil {
		time.Sleep(10 * time.Millisecond)
	}
	server.Crash()
	if err := server.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for m := lost(); m == nil || m.Lost == 0; m = lost() {
		if time.Sleep(20 * time.Millisecond); time.Since(start) > 4*time.Second {
			t.Fatal("nobody says that the shard is empty")
		}
	}
	b.another(nil).want("ann", "", "gone:")
}

func TestALossIsForgottenWithItsEntries(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxAge = time.Second }).sees()
	b.flush("ann")
	b.want("ann", "", "gone:")
	time.Sleep(1100 * time.Millisecond)
	b.want("ann", "", "")
}

func TestATornInboxIsNotWhole(t *testing.T) {
	b := newBox(t, nil)
	for i, key := range []func(hub.UserID) string{b.keys.InboxIDs, b.keys.InboxBook, b.keys.Inbox} {
		u := hub.UserID(fmt.Sprint("user-", i))
		b.store("a", hub.ClassMust, time.Hour, u)
		b.want(u, "", "a")
		b.on(u, func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, key(u)).Err() })
		want := "gone: a"
		if i == 2 {
			want = "gone:"
		}
		b.want(u, "", want)
	}
	b.store("b", hub.ClassMust, time.Hour, "user-0") // its ids are gone, its stream is not
	b.want("user-0", "b", "a b")
}

// TestPositionsGoOnWhenTheClockDoesNot: a new master's clock may be behind.
func TestPositionsGoOnWhenTheClockDoesNot(t *testing.T) {
	b := newBox(t, nil)
	b.store("a", hub.ClassDroppable, time.Hour, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { // a was stored by a clock an hour ahead
		c.Del(ctx, b.keys.Inbox("ann"))
		ahead := time.Now().Add(time.Hour).UnixMilli()
		v := []any{"i", "a", "c", 2, "s", "", "p", "payload of a", "x", ahead}
		c.XAdd(ctx, &redis.XAddArgs{Stream: b.keys.Inbox("ann"), ID: fmt.Sprint(ahead, "-0"), Values: v})
		return c.ZAdd(ctx, b.keys.InboxIDs("ann"), redis.Z{Score: float64(ahead), Member: "a"}).Err()
	})
	b.store("b", hub.ClassDroppable, time.Hour, "ann")
	b.want("ann", "a", "b")
	b.want("ann", "b", "a")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.Del(ctx, b.keys.InboxIDs("ann")).Err() })
	b.store("c", hub.ClassDroppable, time.Hour, "ann")
	b.want("ann", "c", "a b")
}
