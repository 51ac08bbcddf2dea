package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// limitMemory gives user's server headroom bytes more than it uses, and lets it
// use them up to share; 0: no limit.
func (b *box) limitMemory(user hub.UserID, headroom int) (limit int) {
	b.t.Helper()
	b.on(user, func(ctx context.Context, c *redis.Client) error {
		info, err := c.InfoMap(ctx, "memory").Result()
		if err != nil {
			return err
		}
		if headroom > 0 {
			used, err := strconv.Atoi(info["Memory"]["used_memory"])
			if err != nil {
				return err
			}
			limit = used + headroom
		}
		return c.ConfigSet(ctx, "maxmemory", strconv.Itoa(limit)).Err()
	})
	return limit
}

// charged stores for users on the account of a key, and returns the refusal.
func (b *box) charged(a hub.Account, id string, size int, ttl time.Duration, users ...hub.UserID) *hub.RoomError {
	b.t.Helper()
	m := &hub.Stored{ID: id, Payload: make([]byte, size), Account: a}
	err := b.Store(b.t.Context(), users, m, ttl)
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*hub.RoomError](err)
	if !ok || errors.Is(err, hub.ErrUnavailable) {
		b.t.Fatalf("%v, want a *hub.RoomError that is not hub.ErrUnavailable", err)
	}
	return refused
}

// charge stores for users on the account of a key, which has room.
func (b *box) charge(a hub.Account, id string, size int, ttl time.Duration, users ...hub.UserID) {
	b.t.Helper()
	if refused := b.charged(a, id, size, ttl, users...); refused != nil {
		b.t.Fatal(refused)
	}
}

// held is what an account holds at user's server.
func (b *box) held(user hub.UserID, name string) (n int) {
	b.t.Helper()
	b.on(user, func(ctx context.Context, c *redis.Client) (err error) {
		n, err = c.HGet(ctx, b.keys.InboxAccounts()+name, "held").Int()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	return n
}

// What is stored for those who never come must not fill the server: above the
// watermark it is refused, and everything else goes on.
func TestAboveTheWatermarkNothingIsStored(t *testing.T) {
	b := newBox(t, func(c *Config) { c.Watermark, c.KeyShare = 0.8, 0 })
	b.store("kept", hub.ClassMust, time.Hour, "ann")
	limit := b.limitMemory("ann", 20<<20)

	var refused *hub.RoomError
	stored := 0
	for ; refused == nil && stored < 20_000; stored += 100 {
		var users []hub.UserID
		for i := range 100 {
			users = append(users, hub.UserID(fmt.Sprint("nobody-", stored+i)))
		}
		refused = b.charged(hub.Account{Name: "game"}, "x", 3000, time.Hour, users...)
	}
	if refused == nil || refused.Pot != hub.PotInbox || refused.Account != "" || refused.After <= 0 {
		t.Fatalf("after %d users: %+v, want a full inbox", stored, refused)
	}
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		info := c.InfoMap(ctx, "memory").Val()
		if used, _ := strconv.Atoi(info["Memory"]["used_memory"]); used > limit*85/100 || used < limit*60/100 {
			t.Errorf("%d of %d bytes used, want about 80%%", used, limit)
		}
		return c.Set(ctx, b.keys.User("new"), "x", 0).Err() // who connects finds room
	})
	b.want("ann", "", "kept")
	b.ack("ann", "kept")
	b.want("ann", "kept", "")
	if all := b.Degraded(); len(all) != 1 || !strings.Contains(all[0], b.role.Shards()[0].Name()) {
		t.Errorf("degraded: %q, want the shard", all)
	}
	if n := testutil.ToFloat64(b.metrics.refused.WithLabelValues(refusedFull)); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}
	b.limitMemory("ann", 0)
	if refused := b.charged(hub.Account{}, "y", 10, time.Hour, "ann"); refused != nil {
		t.Errorf("with space again: %v", refused)
	}
}

// A server that sets no maxmemory is bounded by the option, and known when there
// is none either.
func TestAServerWithoutMaxmemory(t *testing.T) {
	b := newBox(t, nil)
	unbounded := func(b *box) float64 {
		b.checkBounds()
		return testutil.ToFloat64(b.metrics.unbounded.WithLabelValues(b.role.Shards()[0].Name()))
	}
	if refused := b.charged(hub.Account{}, "a", 10, time.Hour, "ann"); refused != nil || unbounded(b) != 1 {
		t.Errorf("%v, unbounded %v; want it stored, and said", refused, unbounded(b))
	}
	cfg := b.cfg
	cfg.Memory = 1 << 20 // less than it uses
	small := openBox(t, cfg, b.rc)
	if refused := small.charged(hub.Account{}, "b", 10, time.Hour, "ann"); refused == nil || unbounded(small) != 0 {
		t.Errorf("%v, unbounded %v; want it refused, and bounded", refused, unbounded(small))
	}
}

func TestWatermarkOfSharedAndOfSeparateServers(t *testing.T) {
	b := newBox(t, nil)
	if b.watermark != sharedWatermark {
		t.Errorf("beside the index %v, want %v", b.watermark, sharedWatermark)
	}
	inbox := redistest.Server(t)
	if apart := b.another(func(rc *redisx.Config) { rc.Inbox = []string{inbox} }); apart.watermark != separateWatermark {
		t.Errorf("on a server of its own %v, want %v", apart.watermark, separateWatermark)
	}
}

// One key cannot take the room of the others, at whichever API server it asks,
// and what leaves the inboxes is its own again.
func TestQuota(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 2 })
	other := b.another(nil)
	game, shop := hub.Account{Name: "game", Quota: 55_000}, hub.Account{Name: "shop", Quota: 55_000}

	const size = 10_000
	users := []hub.UserID{"ann", "bob", "cleo"}
	for i, box := range []*box{b, other, b} {
		if refused := box.charged(game, "a", size, time.Hour, users[i]); refused != nil {
			t.Fatal(refused)
		}
	}
	refused := other.charged(game, "a", size, time.Hour, "dora")
	if refused == nil || refused.Account != "game" || refused.After <= 0 || refused.After > quotaAfterMost {
		t.Fatalf("%+v, want the quota of game used up", refused)
	}
	if refused := other.charged(shop, "b", size, time.Hour, "dora"); refused != nil {
		t.Errorf("another key: %v", refused)
	}
	if n := testutil.ToFloat64(other.metrics.refused.WithLabelValues(refusedQuota)); n != 1 {
		t.Errorf("%v refusals counted, want 1", n)
	}

	full := b.held("ann", "game")
	b.ack("ann", "a")
	if now := b.held("ann", "game"); full-now < size {
		t.Errorf("%d bytes held before an acknowledgement and %d after", full, now)
	}
	// What others push out is given back, too.
	b.store("x", hub.ClassMust, time.Hour, "bob")
	b.store("y", hub.ClassMust, time.Hour, "bob")
	if now := b.held("ann", "game"); full-now < 2*size {
		t.Errorf("%d bytes held before one was pushed out and %d after", full, now)
	}
	if refused := b.charged(game, "c", size, time.Hour, "eve"); refused != nil {
		t.Errorf("with room again: %v", refused)
	}
}

// A stream that expires as a whole tells nobody; its account lapses by itself.
func TestAnAccountLapses(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxAge = time.Second })
	game := hub.Account{Name: "game", Quota: 50_000}
	if refused := b.charged(game, "a", 30_000, time.Second, "ann"); refused != nil {
		t.Fatal(refused)
	}
	if refused := b.charged(game, "b", 30_000, time.Second, "bob"); refused == nil {
		t.Fatal("not refused")
	}
	deadline := time.Now().Add(10 * time.Second)
	for b.charged(game, "b", 30_000, time.Second, "bob") != nil {
		if time.Now().After(deadline) {
			t.Fatal("still refused after 10 s")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A share of what may be stored is a key's quota if none is set.
func TestKeyShare(t *testing.T) {
	b := newBox(t, func(c *Config) { c.Watermark, c.KeyShare = 1, 0.5 })
	limit := b.limitMemory("ann", 20<<20)
	game := hub.Account{Name: "game"}
	n := 0
	var refused *hub.RoomError
	for ; refused == nil && n < 1000; n++ {
		refused = b.charged(game, "a", 60_000, time.Hour, hub.UserID(fmt.Sprint("nobody-", n)))
	}
	if refused == nil || refused.Account != "game" {
		t.Fatalf("after %d: %+v, want the share of game used up", n, refused)
	}
	if held := b.held("ann", "game"); held > limit/2 || held < limit/2-100_000 {
		t.Errorf("it holds %d bytes, want half of %d", held, limit)
	}
	if refused := b.charged(hub.Account{Name: "vip", Quota: 15 << 20}, "b", 60_000, time.Hour, "ann"); refused != nil {
		t.Errorf("a key with a quota of its own: %v", refused)
	}
}

// Accounts are kept in few buckets, however many times are asked for.
func TestAnAccountIsSmall(t *testing.T) {
	b := newBox(t, nil)
	game := hub.Account{Name: "game"}
	for i := range 600 {
		ttl := time.Duration(1+i*i) * time.Second
		if refused := b.charged(game, fmt.Sprint("n", i), 10, min(ttl, b.cfg.MaxAge), "ann"); refused != nil {
			t.Fatal(refused)
		}
	}
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		if n := c.HLen(ctx, b.keys.InboxAccounts()+"game").Val(); n > 350 {
			t.Errorf("%d buckets, want at most 350", n)
		}
		return nil
	})
}

// used is what user's server uses.
func (b *box) used(user hub.UserID) (n int) {
	b.t.Helper()
	b.on(user, func(ctx context.Context, c *redis.Client) (err error) {
		n, err = strconv.Atoi(c.InfoMap(ctx, "memory").Val()["Memory"]["used_memory"])
		return err
	})
	return n
}

// What an inbox remembers of what it held outlives the notifications by far, and
// takes as much: a key that stores much for moments is charged for it.
func TestWhatIsRememberedIsCharged(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 150 })
	game := hub.Account{Name: "game", Quota: 1 << 40}
	users := make([]hub.UserID, 100)
	for i := range users {
		users[i] = hub.UserID(fmt.Sprint("nobody-", i))
	}
	store := func(ids int) {
		for i := range ids {
			b.charge(game, fmt.Sprintf("01K%05d%018d", ids, i), 1, time.Millisecond, users...)
		}
	}
	// What is stored is charged for a second or two; then only what is remembered is.
	settled := func(most int) int {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if b.charge(game, "probe", 1, time.Millisecond, "ann"); b.held("ann", "game") < most {
				break
			}
		}
		return b.held("ann", "game")
	}
	const streams = 4096 // bytes that a stream takes at least
	store(300)           // of which 150 are remembered, in some 20 KB
	held := settled(len(users) * (20_000 + streams/2))
	took := b.used("ann")
	// Who stores too pays for what is its own.
	shop := hub.Account{Name: "shop", Quota: 1 << 40}
	b.charge(shop, "s", 1, time.Millisecond, users...)
	if held := b.held("ann", "shop"); held > len(users)*(streams+1000) {
		t.Errorf("another key is charged for %d bytes", held)
	}
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() })
	if took -= b.used("ann"); held < took*8/10 || held > took*3/2 {
		t.Errorf("charged for %d bytes, and it takes %d", held, took)
	}
}

// A key that stores as much as is pushed out holds as much as before, and goes on
// being charged.
func TestAnAccountThatStaysAsItIsLives(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 2 })
	game := hub.Account{Name: "game"}
	account := b.keys.InboxAccounts() + game.Name
	for i := range 4 {
		b.charge(game, fmt.Sprint("old", i), 100, time.Hour, "ann")
	}
	held := b.held("ann", "game")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.Expire(ctx, account, time.Minute).Err() })
	b.charge(game, "new0", 100, time.Minute, "ann") // it lapses first
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		if left := c.TTL(ctx, account).Val(); left <= time.Minute {
			t.Errorf("the account is kept for %v", left)
		}
		if next, _ := c.HGet(ctx, account, "next").Int64(); time.Until(time.Unix(next, 0)) > 2*time.Minute {
			t.Errorf("what lapses first does so in %v", time.Until(time.Unix(next, 0)))
		}
		return nil
	})
	if now := b.held("ann", "game"); now != held {
		t.Errorf("%d bytes held before, and %d after", held, now)
	}
}

// When a stream expires as a whole, the book goes on to say who is charged, and
// forgets where things stood.
func TestTheBookKeepsWhoIsCharged(t *testing.T) {
	b := newBox(t, nil)
	b.charge(hub.Account{Name: "game"}, "a", 10, time.Millisecond, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		for i := range 2500 {
			c.HSet(ctx, b.keys.InboxBook("ann"), fmt.Sprint("@", i), 1)
		}
		return nil
	})
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		for deadline := time.Now().Add(10 * time.Second); c.Exists(ctx, b.keys.Inbox("ann")).Val() > 0; {
			if time.Now().After(deadline) {
				t.Fatal("the stream stays")
			}
		}
		b.charge(hub.Account{Name: "shop"}, "b", 10, time.Hour, "ann")
		for _, field := range []string{"=game", "=shop"} {
			if !c.HExists(ctx, b.keys.InboxBook("ann"), field).Val() {
				t.Errorf("the book has no %s", field)
			}
		}
		if n := c.HLen(ctx, b.keys.InboxBook("ann")).Val(); n != 5 {
			t.Errorf("the book has %d fields, want bytes, soonest, gone and two accounts", n)
		}
		return nil
	})
}
