package layout

import (
	"context"
	"log/slog"
	"strings"
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

// check makes a process's check on Redis as cfg has it; it does not run.
func check(t *testing.T, cfg redisx.Config, role string) *Check {
	t.Helper()
	c := New(redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix), role, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	c.began, c.met = time.Now(), time.Now()
	return c
}

// aged has c believe that it has run for a while and met nobody.
func (c *Check) aged() *Check {
	c.began, c.met = time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)
	return c
}

func (c *Check) look(t *testing.T) error {
	t.Helper()
	c.compare(t.Context())
	return c.Err()
}

func wantDiffers(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("agrees, want a difference that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v; want it to say %q", err, s)
		}
	}
}

func TestListsOfShards(t *testing.T) {
	a, b, c := redistest.Server(t), redistest.Server(t), redistest.Server(t)
	two := redistest.Config(t, a)
	two.Data = []string{a, b}
	three, swapped, other := two, two, two
	three.Data, swapped.Data, other.Data = []string{a, b, c}, []string{b, a}, []string{a, c}

	front := check(t, two, Front)
	if err := front.look(t); err != nil {
		t.Fatal(err)
	}
	if err := front.WaitAgreed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := check(t, swapped, API).look(t); err != nil {
		t.Errorf("in another order: %v", err)
	}
	wantDiffers(t, check(t, three, API).look(t), "data=", " pid ")
	wantDiffers(t, check(t, other, API).look(t), "data=", " pid ")
	if err := front.look(t); err != nil {
		t.Errorf("whoever was there first: %v", err)
	}
}

func TestSpellings(t *testing.T) {
	a, b := redistest.Server(t), redistest.Server(t)
	respelled := func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }
	one := redistest.Config(t, a)
	if err := check(t, one, Front).look(t); err != nil {
		t.Fatal(err)
	}
	alike := one
	alike.Data = []string{respelled(a)}
	if err := check(t, alike, API).look(t); err != nil {
		t.Errorf("one shard under another name: %v; want no harm in it", err)
	}
	two := redistest.Config(t, a)
	two.Prefix += "2"
	two.Data = []string{a, b}
	if err := check(t, two, Front).look(t); err != nil {
		t.Fatal(err)
	}
	two.Data = []string{a, respelled(b)}
	wantDiffers(t, check(t, two, API).look(t), "localhost")
}

// TestOtherRedis: the data of one are not the data of the other, though both
// carry their messages over one pub/sub.
func TestOtherRedis(t *testing.T) {
	a, b, pubsub := redistest.Server(t), redistest.Server(t), redistest.Server(t)
	cfg := redistest.Config(t, a)
	cfg.PubSub = []string{pubsub}
	front := check(t, cfg, Front).aged()
	if err := front.look(t); err != nil {
		t.Fatal(err)
	}
	astray := cfg
	astray.Data = []string{b}
	api := check(t, astray, API)
	if err := api.look(t); err != nil {
		t.Errorf("at once: %v; want some patience with a start", err)
	}
	wantDiffers(t, api.aged().look(t), "no front uses")
	wantDiffers(t, front.look(t), "no api uses")
	if err := check(t, cfg, API).look(t); err != nil {
		t.Fatal(err)
	}
	if err := front.look(t); err != nil {
		t.Errorf("with an API server on the same data: %v", err)
	}
}

func TestPrefixes(t *testing.T) {
	cfg := redistest.Config(t, redistest.Server(t))
	typo := cfg
	typo.Prefix += "x"
	front := check(t, typo, Front)
	api := check(t, cfg, API).aged()
	if err := api.look(t); err != nil {
		t.Errorf("alone: %v; want nothing to be wrong with that", err)
	}
	if err := front.look(t); err != nil {
		t.Fatal(err)
	}
	wantDiffers(t, api.aged().searching().look(t), typo.Prefix)
	wantDiffers(t, front.aged().searching().look(t), cfg.Prefix)
	// Another deployment that is whole is none of our business.
	if err := check(t, typo, API).look(t); err != nil {
		t.Fatal(err)
	}
	if err := api.aged().searching().look(t); err != nil {
		t.Errorf("beside another deployment: %v", err)
	}
}

func (c *Check) searching() *Check {
	c.scanned = time.Time{}
	return c
}

// TestOthersOnTheSameRedis: a process that is alone looks for another prefix.
// Its user need not be let to look at what it finds there.
func TestOthersOnTheSameRedis(t *testing.T) {
	p := redistest.Process(t, redisproc.ServerOptions{})
	others := redistest.Config(t, "redis://"+p.Addr())
	if err := check(t, others, Front).look(t); err != nil {
		t.Fatal(err)
	}
	ours := redistest.Config(t, "redis://u:pw@"+p.Addr())
	admin := p.Client()
	defer admin.Close()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "u", "on", ">pw", "~"+ours.Prefix+":*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	r := redistest.Open(t, ours)
	c := New(r, hub.NewKeys(ours.Prefix), API, slog.New(slog.DiscardHandler), nil)
	if err := c.aged().look(t); err != nil {
		t.Errorf("%v, though that is somebody else's affair", err)
	}
	if all := r.Troubles(); len(all) > 0 {
		t.Errorf("troubles %+v", all)
	}
	if log := admin.ACLLog(t.Context(), 10).Val(); len(log) == 0 {
		t.Error("it did not look")
	}
}

// TestShardsGrow: processes of both lists agree while those of the new one know
// the old one, and no longer.
func TestShardsGrow(t *testing.T) {
	a, b, c := redistest.Server(t), redistest.Server(t), redistest.Server(t)
	old := redistest.Config(t, a)
	old.Data = []string{a, b}
	grown := old
	grown.Data, grown.DataPrevious = []string{a, b, c}, old.Data
	done := grown
	done.DataPrevious = nil

	api := check(t, old, API)
	front := check(t, grown, Front).aged()
	for range 2 {
		for name, process := range map[string]*Check{"old API server": api, "new front": front} {
			if err := process.look(t); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if err := check(t, done, API).look(t); err != nil {
		t.Errorf("one that does not know the old list any more: %v", err)
	}
	r := redistest.Open(t, grown)
	for _, sh := range r.Data.Shards() { // as after the time that an entry stands
		m, err := sh.Master()
		if err != nil {
			t.Fatal(err)
		}
		m.Del(context.Background(), hub.NewKeys(old.Prefix).LayoutBefore())
	}
	wantDiffers(t, api.look(t), "data=")
}

func TestRedisAway(t *testing.T) {
	cfg := redistest.Config(t, "redis://127.0.0.1:1")
	r, err := redisx.New(cfg, slog.New(slog.DiscardHandler), nil) // it does not run: no shard has a master
	if err != nil {
		t.Fatal(err)
	}
	c := New(r, hub.NewKeys(cfg.Prefix), API, slog.New(slog.DiscardHandler), nil)
	if err := c.look(t); err != nil {
		t.Errorf("%v; want nothing to be known", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if c.WaitAgreed(ctx) == nil {
		t.Error("agreed with nobody")
	}
}
