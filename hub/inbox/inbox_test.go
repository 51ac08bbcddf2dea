package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/embedded"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is an Inbox on a Redis of the test's own.
type box struct {
	*Inbox

	t  testing.TB
	r  *redisx.Redis
	rc redisx.Config
}

func newBox(tb testing.TB, change func(*Config), urls ...string) *box {
	tb.Helper()
	var cfg Config
	if err := kong.ApplyDefaults(&cfg); err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	if len(urls) == 0 {
		urls = []string{redistest.Server(tb)}
	}
	rc := redistest.Config(tb, urls[0])
	rc.Inbox = urls
	return openBox(tb, cfg, rc)
}

// openBox is an Inbox of another process: it remembers nothing.
func openBox(tb testing.TB, cfg Config, rc redisx.Config) *box {
	tb.Helper()
	r := redistest.Open(tb, rc)
	return &box{Inbox: New(cfg, r, hub.NewKeys(rc.Prefix), slog.New(slog.DiscardHandler), prometheus.NewRegistry()), t: tb, r: r, rc: rc}
}

// another is b in another process, with changes to its configuration.
func (b *box) another(change func(*redisx.Config)) *box {
	b.t.Helper()
	rc := b.rc
	if change != nil {
		change(&rc)
	}
	return openBox(b.t, b.cfg, rc)
}

func (b *box) store(id string, class hub.Class, ttl time.Duration, users ...hub.UserID) {
	b.t.Helper()
	m := &hub.Stored{ID: id, Class: class, Payload: []byte("payload of " + id)}
	if err := b.Store(b.t.Context(), users, m, ttl); err != nil {
		b.t.Fatal(err)
	}
}

// read returns the ids found after after, joined, and "gone" before them when
// the history is not whole.
func (b *box) read(user hub.UserID, after string) string {
	b.t.Helper()
	got, err := b.Read(b.t.Context(), user, after)
	if err != nil {
		b.t.Fatal(err)
	}
	var ids []string
	if !got.Recovered {
		ids = append(ids, "gone:")
	}
	for _, e := range got.Entries {
		ids = append(ids, e.ID)
		if want := "payload of " + e.ID; string(e.Payload) != want && !strings.HasPrefix(e.ID, "big") {
			b.t.Errorf("payload %q, want %q", e.Payload, want)
		}
	}
	return strings.Join(ids, " ")
}

func (b *box) want(user hub.UserID, after, want string) {
	b.t.Helper()
	if got := b.read(user, after); got != want {
		b.t.Errorf("after %q: %q, want %q", after, got, want)
	}
}

func (b *box) ack(user hub.UserID, ids ...string) {
	b.t.Helper()
	if err := b.Ack(b.t.Context(), user, ids); err != nil {
		b.t.Fatal(err)
	}
}

// on calls f with a client of user's shard.
func (b *box) on(user hub.UserID, f func(context.Context, *redis.Client) error) {
	b.t.Helper()
	if err := b.role.Shard(string(user)).Write(b.t.Context(), f); err != nil {
		b.t.Fatal(err)
	}
}

// age makes everything stored for user so far older than the overlap.
func (b *box) age(user hub.UserID) {
	b.t.Helper()
	b.on(user, func(ctx context.Context, c *redis.Client) error {
		shift := 2 * overlap.Milliseconds()
		stream := b.keys.Inbox(user)
		entries, err := c.XRange(ctx, stream, "-", "+").Result()
		if err != nil {
			return err
		}
		ttl := c.PTTL(ctx, stream).Val()
		c.Del(ctx, stream)
		for _, e := range entries {
			var at int64
			if _, err := fmt.Sscanf(e.ID, "%d-0", &at); err != nil {
				return err
			}
			v := []any{"i", e.Values["i"], "c", e.Values["c"], "s", e.Values["s"], "p", e.Values["p"], "x", e.Values["x"]}
			c.XAdd(ctx, &redis.XAddArgs{Stream: stream, ID: fmt.Sprintf("%d-0", at-shift), Values: v})
			c.ZIncrBy(ctx, b.keys.InboxIDs(user), float64(-shift), e.Values["i"].(string))
		}
		return c.PExpire(ctx, stream, ttl).Err()
	})
}

func TestReadGivesWhatWasStoredSince(t *testing.T) {
	b := newBox(t, nil)
	b.want("ann", "", "")
	b.store("a", hub.ClassLatest, time.Hour, "ann", "bob")
	b.age("ann")
	b.store("b", hub.ClassDroppable, time.Hour, "ann")
	b.age("ann")
	b.store("c", hub.ClassDroppable, time.Hour, "bob", "ann")
	b.store("d", hub.ClassLatest, time.Hour, "ann")
	b.want("ann", "", "a b c d")
	b.want("bob", "", "a c")
	b.want("ann", "b", "c d")
	b.want("ann", "a", "b c d")
	b.want("ann", "d", "c") // which is within the overlap
	if m, err := b.Read(t.Context(), "ann", "d"); err != nil || m.Entries[0].Again {
		t.Errorf("%+v, %v: the client may not have seen it", m, err)
	}
	b.want("ann", "unknown", "gone: a b c d")
	b.want("nobody", "a", "gone:")
}

func TestMustStaysUntilItIsAcknowledged(t *testing.T) {
	b := newBox(t, nil)
	b.store("a", hub.ClassMust, time.Hour, "ann", "bob")
	b.store("b", hub.ClassDroppable, time.Hour, "ann")
	b.store("c", hub.ClassMust, time.Hour, "ann")
	b.age("ann")
	b.store("d", hub.ClassLatest, time.Hour, "ann")
	b.want("ann", "d", "a c")
	for after, again := range map[string]bool{"d": true, "": false, "unknown": false} {
		m, err := b.Read(t.Context(), "ann", after)
		if err != nil || m.Entries[0].Again != again {
			t.Errorf("after %q: %+v, %v", after, m.Entries, err)
		}
	}
	for user, want := range map[hub.UserID]string{"ann": "c", "bob": "", "nobody": ""} { // d, and all of bob's, may be on their way
		if got, err := b.Anchor(t.Context(), user); err != nil || got != want {
			t.Errorf("the anchor of %s: %q, %v, want %q", user, got, err, want)
		}
	}
	b.ack("ann", "c", "b", "no such")
	b.want("ann", "d", "a")
	b.want("ann", "", "a b d")
	b.ack("ann", "a")
	b.want("ann", "a", "b d") // its position is remembered, and nothing counts as lost
	b.want("ann", "d", "")
	b.want("bob", "", "a")
	b.ack("bob", "a")
	b.want("bob", "a", "")
	b.want("bob", "", "")
}

func TestARepeatedIDIsKeptOnce(t *testing.T) {
	b := newBox(t, nil)
	b.store("a", hub.ClassMust, time.Hour, "ann")
	b.store("a", hub.ClassMust, time.Hour, "ann", "bob")
	b.want("ann", "", "a")
	b.want("bob", "", "a")
	b.ack("ann", "a")
	b.store("a", hub.ClassMust, time.Hour, "ann")
	b.want("ann", "", "")
}

func TestCountIsBounded(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 3 })
	for _, id := range []string{"a", "b", "c"} {
		b.store(id, hub.ClassMust, time.Hour, "ann")
	}
	b.want("ann", "", "a b c")
	b.store("d", hub.ClassMust, time.Hour, "ann")
	b.want("ann", "", "gone: b c d")
	b.want("ann", "a", "gone: b c d") // so many ids ago that nobody knows
	b.want("ann", "b", "b c d")       // a was before it
	b.store("e", hub.ClassMust, time.Hour, "ann")
	b.store("f", hub.ClassMust, time.Hour, "ann")
	b.want("ann", "d", "d e f")
	b.want("ann", "c", "gone: d e f")
}

func TestAnOldEntryIsAcknowledgedAfterManyNewOnes(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 3 })
	b.store("old", hub.ClassMust, time.Hour, "ann")
	for i := range 10 {
		id := fmt.Sprint("n", i)
		b.store(id, hub.ClassMust, time.Hour, "ann")
		b.ack("ann", id)
	}
	b.want("ann", "n9", "old")
	b.want("ann", "old", "old")
	b.ack("ann", "old")
	b.want("ann", "n9", "")
}

func TestBytesAreBounded(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxBytes = 100_000 })
	for i := range 4 {
		m := &hub.Stored{ID: fmt.Sprint("big", i), Payload: make([]byte, 30_000)}
		if err := b.Store(t.Context(), []hub.UserID{"ann"}, m, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	b.want("ann", "big0", "big1 big2 big3")
	b.want("ann", "", "gone: big1 big2 big3")
	b.ack("ann", "big1", "big2")
	b.store("small", hub.ClassMust, time.Hour, "ann")
	b.store("small2", hub.ClassMust, time.Hour, "ann")
	b.want("ann", "big3", "big3 small small2")
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		want := int64(30_000 + 4 + 64 + len("payload of small")*2 + 1 + len("small")*2 + 1 + 2*64)
		if got, err := c.HGet(ctx, b.keys.InboxBook("ann"), "bytes").Int64(); got != want {
			t.Errorf("the book says %d bytes (%v), want %d", got, err, want)
		}
		return nil
	})
}

func TestEntriesExpireEachInItsTime(t *testing.T) {
	b := newBox(t, nil)
	b.store("long", hub.ClassMust, time.Hour, "ann")
	b.store("short", hub.ClassMust, 100*time.Millisecond, "ann")
	b.store("seen", hub.ClassDroppable, time.Hour, "ann")
	b.want("ann", "", "long short seen")
	time.Sleep(150 * time.Millisecond)
	b.want("ann", "", "gone: long seen")
	b.want("ann", "long", "gone: long seen")
	b.want("ann", "seen", "long")
	b.store("next", hub.ClassMust, time.Hour, "ann") // sweeps
	b.want("ann", "long", "gone: long seen next")
	b.want("ann", "seen", "long next")
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		if n := c.XLen(ctx, b.keys.Inbox("ann")).Val(); n != 3 {
			t.Errorf("%d entries, want 3: the expired one swept", n)
		}
		return nil
	})
}

func TestAnInboxGoesWithItsLongestEntry(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxAge = time.Hour })
	b.store("a", hub.ClassMust, 200*time.Millisecond, "ann")
	b.store("b", hub.ClassMust, 100*time.Millisecond, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		if ttl := c.PTTL(ctx, b.keys.Inbox("ann")).Val(); ttl <= 100*time.Millisecond || ttl > 200*time.Millisecond {
			t.Errorf("the stream lives for %v, want up to 200ms", ttl)
		}
		for _, key := range []string{b.keys.InboxIDs("ann"), b.keys.InboxBook("ann")} {
			if ttl := c.PTTL(ctx, key).Val(); ttl < 59*time.Minute || ttl > time.Hour {
				t.Errorf("%s lives for %v, want an hour", key, ttl)
			}
		}
		return nil
	})
	time.Sleep(250 * time.Millisecond)
	b.on("ann", func(ctx context.Context, c *redis.Client) error {
		if n := c.Exists(ctx, b.keys.Inbox("ann")).Val(); n != 0 {
			t.Error("the stream is still there")
		}
		return nil
	})
	b.want("ann", "a", "gone:")
	b.want("ann", "b", "") // saw the last there was
	b.store("c", hub.ClassDroppable, time.Hour, "ann")
	b.want("ann", "a", "gone: c")
	b.want("ann", "b", "c")
}

func TestServicesAndManyUsersOnShards(t *testing.T) {
	b := newBox(t, nil, redistest.Server(t), redistest.Server(t))
	var users []hub.UserID
	for i := range 130 {
		users = append(users, hub.UserID(fmt.Sprint("user-", i)))
	}
	m := hub.Stored{ID: "a", Class: hub.ClassLatest, Services: []hub.Service{"chess", "go"}, Payload: []byte("x")}
	if err := b.Store(t.Context(), users, &m, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		got, err := b.Read(t.Context(), u, "")
		if err != nil {
			t.Fatal(err)
		}
		if m.At = got.Entries[0].At; time.Since(time.UnixMilli(m.At)).Abs() > time.Minute {
			t.Fatalf("stored at %d", m.At)
		}
		if d := cmp.Diff(hub.Missed{Entries: []hub.Stored{m}, Recovered: true, Last: "a"}, got); d != "" {
			t.Fatalf("%s (-want +got):\n%s", u, d)
		}
	}
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	b := newBox(t, nil)
	b.store("a", hub.ClassMust, time.Hour, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() })
	b.store("b", hub.ClassMust, time.Hour, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() })
	b.ack("ann", "a")
	b.want("ann", "", "b")
}

func TestARedisThatForgotIsNotBelieved(t *testing.T) {
	b := newBox(t, nil)
	b.store("a", hub.ClassMust, time.Hour, "ann")
	b.on("ann", func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
	b.want("ann", "a", "gone:")
}

func TestStoreRefusesATimeItMayNotKeep(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxAge = time.Hour })
	for _, ttl := range []time.Duration{-1, 0, time.Hour + 1} {
		err := b.Store(t.Context(), []hub.UserID{"ann"}, &hub.Stored{ID: "a"}, ttl)
		if !errors.Is(err, hub.ErrInvalid) || !strings.HasPrefix(err.Error(), "store: ") {
			t.Errorf("%v: %v, want hub.ErrInvalid about store", ttl, err)
		}
	}
}

func TestWithoutRedis(t *testing.T) {
	server := redistest.Process(t, redisproc.ServerOptions{})
	b := newBox(t, nil, "redis://"+server.Addr())
	b.store("a", hub.ClassMust, time.Hour, "ann")
	server.Kill()
	_, err := b.Read(t.Context(), "ann", "")
	for doing, err := range map[string]error{
		"read":  err,
		"store": b.Store(t.Context(), []hub.UserID{"ann"}, &hub.Stored{ID: "b"}, time.Hour),
		"ack":   b.Ack(t.Context(), "ann", []string{"a"}),
	} {
		if !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("%s: %v, want hub.ErrUnavailable", doing, err)
		}
	}
}

// TestOnTheStandIn holds the stand-in of machines without Redis to the same.
func TestOnTheStandIn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	url, stop, err := embedded.Start(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	b := newBox(t, func(c *Config) { c.MaxCount = 3 }, url)
	for _, id := range []string{"a", "b", "c", "d"} {
		b.store(id, hub.ClassMust, time.Hour, "ann")
	}
	b.want("ann", "", "gone: b c d")
	b.want("ann", "b", "b c d")
	b.ack("ann", "b", "c", "d")
	b.want("ann", "d", "")
}

func TestConfigValidate(t *testing.T) {
	var good Config
	if err := kong.ApplyDefaults(&good); err != nil {
		t.Fatal(err)
	}
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for option, spoil := range map[string]func(*Config){
		"inbox.max-count": func(c *Config) { c.MaxCount = 0 },
		"inbox.max-bytes": func(c *Config) { c.MaxBytes = 1 },
		"inbox.max-age":   func(c *Config) { c.MaxAge = 0 },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), option+": ") {
			t.Errorf("%v, want an error about %s", err, option)
		}
	}
}

func FuzzReadEntry(f *testing.F) {
	f.Add("1700000000000-0", "0", "1700000000001", "chess go ")
	f.Add("-", "", "", "")
	f.Fuzz(func(t *testing.T, id, class, expires, services string) {
		e, err := readEntry(id, map[string]any{"i": "x", "c": class, "x": expires, "s": services, "p": "p"})
		if err != nil {
			if !errors.Is(err, errEntry) {
				t.Fatalf("%v does not wrap errEntry", err)
			}
			return
		}
		s := &snapshot{now: 1, entries: []entry{e}}
		s.settle("x")
		since([]*snapshot{s}, "x")
	})
}
