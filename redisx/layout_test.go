package redisx_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

// lists makes a Redis of lists of URLs, separated by spaces: data, pub/sub,
// inbox, and the previous lists of data and inbox.
func lists(t *testing.T, urls ...string) (*redisx.Redis, error) {
	t.Helper()
	cfg := redistest.Config(t, "")
	for i, list := range []*[]string{&cfg.Data, &cfg.PubSub, &cfg.Inbox, &cfg.DataPrevious, &cfg.InboxPrevious} {
		*list = nil
		if i < len(urls) {
			*list = strings.Fields(urls[i])
		}
	}
	return redisx.New(cfg, logger(t), nil)
}

// Processes that find keys at the same places say the same, however their
// lists are ordered and spelled.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		urls   []string
		now    string
		before string
	}{
		{[]string{"redis://a:1"}, "data=a:1 pubsub=a:1 inbox=a:1", ""},
		{[]string{"redis://b:1 redis://a:1", "redis://c:1", "redis://d:1"}, "data=a:1,b:1 pubsub=c:1 inbox=d:1", ""},
		{[]string{"redis://A.Example:01/2"}, "data=a.example:1/2 pubsub=a.example:1/2 inbox=a.example:1/2", ""},
		{[]string{"redis://[::0001]:1 redis://[::ffff:10.0.0.1]:1"}, "data=10.0.0.1:1,[::1]:1 pubsub=10.0.0.1:1,[::1]:1 inbox=10.0.0.1:1,[::1]:1", ""},
		{[]string{"redis://localhost:1"}, "data=localhost:1 pubsub=localhost:1 inbox=localhost:1", ""},
		{[]string{"redis://user:secret@a:1"}, "data=a:1 pubsub=a:1 inbox=a:1", ""},
		{[]string{"sentinel://s:1,r:1/m"}, "data=m pubsub=m inbox=m", ""},
		{[]string{"sentinel://s:1/m sentinel://r:1/m"}, "data=m,m@s:1 pubsub=m,m@s:1 inbox=m,m@s:1", ""},
		{[]string{"sentinel://r:1/m sentinel://s:1/m"}, "data=m,m@s:1 pubsub=m,m@s:1 inbox=m,m@s:1", ""},
		{[]string{"redis://a:1 redis://b:1", "", "", "redis://a:1"}, "data=a:1,b:1 pubsub=a:1,b:1 inbox=a:1,b:1", "data=a:1 pubsub=a:1 inbox=a:1"},
		{[]string{"redis://a:1 redis://b:1", "redis://p:1", "redis://i:1", "redis://a:1"}, "data=a:1,b:1 pubsub=p:1 inbox=i:1", "data=a:1 pubsub=p:1 inbox=i:1"},
		{[]string{"redis://a:1", "redis://p:1", "redis://i:1 redis://j:1", "", "redis://i:1"}, "data=a:1 pubsub=p:1 inbox=i:1,j:1", "data=a:1 pubsub=p:1 inbox=i:1"},
		{[]string{"redis://a:1", "redis://p:1", "", "", "redis://i:1"}, "data=a:1 pubsub=p:1 inbox=a:1", "data=a:1 pubsub=p:1 inbox=i:1"},
	} {
		r, err := lists(t, c.urls...)
		if err != nil {
			t.Errorf("%q: %v", c.urls, err)
			continue
		}
		if got := r.Layout(); got != c.now {
			t.Errorf("%q: layout %q, want %q", c.urls, got, c.now)
		}
		if got := r.LayoutBefore(); got != c.before {
			t.Errorf("%q: layout before %q, want %q", c.urls, got, c.before)
		}
	}
}

// While shards are added, a key's place before is the one that a process with
// the old list finds.
func TestPrevious(t *testing.T) {
	t.Parallel()
	const old, present = "redis://a:1 redis://b:1", "redis://c:1 redis://b:1 redis://a:1"
	was, err := lists(t, old)
	if err != nil {
		t.Fatal(err)
	}
	// The user of the old URL may be another than the new one's.
	r, err := lists(t, present, "", "", "redis://u:p@a:1 redis://b:1")
	if err != nil {
		t.Fatal(err)
	}
	if r.Inbox != r.Data || r.Data.Previous() == nil || was.Data.Previous() != nil {
		t.Fatal("the previous lists are not those that are configured")
	}
	if n := len(r.Data.All()); n != 3 || len(was.Data.All()) != 2 {
		t.Errorf("%d shards in all, want 3", n)
	}
	moved := 0
	for i := range 3000 {
		key := fmt.Sprintf("user-%d", i)
		now, before := r.Data.Shard(key), r.Data.ShardBefore(key)
		if was.Data.ShardBefore(key) != nil {
			t.Fatal("a key has moved without a previous list")
		}
		if before == nil {
			before = now
		} else {
			moved++
			if now.Name() != "c:1" {
				t.Fatalf("%s moves from %s to %s, which is not new", key, before.Name(), now.Name())
			}
		}
		if want := was.Data.Shard(key).Name(); before.Name() != want {
			t.Fatalf("%s was at %s, want %s", key, before.Name(), want)
		}
		if !slices.Contains(r.Data.Shards(), before) {
			t.Fatalf("%s of the previous list is another Shard than that of the present one", before.Name())
		}
	}
	if moved < 800 || moved > 1200 {
		t.Errorf("%d of 3000 keys move to the third shard", moved)
	}
}

// A shard that leaves is still followed while its keys move.
func TestPreviousShrinks(t *testing.T) {
	t.Parallel()
	r, err := lists(t, "redis://a:1", "redis://p:1", "", "redis://a:1 redis://z:1")
	if err != nil {
		t.Fatal(err)
	}
	all := r.Data.All()
	if len(all) != 2 || all[1].Name() != "z:1" || len(r.Data.Shards()) != 1 {
		t.Errorf("%d shards in all", len(all))
	}
	if len(all) == 2 && all[1].Epoch() != 0 {
		t.Error("a shard that was never reached has an epoch")
	}
}

// There is one lead, in whatever order a process has its list, and it is the
// old list's while shards change.
func TestLead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ data, previous, want string }{
		{"redis://b:1 redis://a:1", "", "a:1"},
		{"redis://a:1 redis://b:1", "", "a:1"},
		{"redis://c:1 redis://b:1 redis://a:1", "redis://c:1 redis://b:1", "b:1"},
	} {
		r, err := lists(t, c.data, "", "", c.previous)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Data.Lead().Name(); got != c.want {
			t.Errorf("%s before %s: %s leads, want %s", c.data, c.previous, got, c.want)
		}
	}
}

func TestListsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		urls []string
		want string
	}{
		{[]string{"redis://a:1 redis://A:01"}, "redis.data[1]: redis://A:01: the same shard twice"},
		{[]string{"redis://a:1 redis://u:p@a:1"}, "redis.data[1]: redis://a:1: the same shard twice"},
		{[]string{"sentinel://r:1,s:1/m sentinel://s:1/m"}, "redis.data[1]: sentinel://s:1/m: the same shard twice"},
		{[]string{"redis://a:1", "", "", "redis://b:1 x://a:1"}, "redis.data-previous[1]: (no URL): want redis://"},
		{[]string{"redis://a:1", "", "", "", "redis://i:1 redis://i:1"}, "redis.inbox-previous[1]: redis://i:1: the same shard twice"},
		{[]string{"sentinel://s:1/m,n"}, "want a name of the master"},
		// With the shard of r, that of s was called m@s:1: its keys are spread by that.
		{[]string{"sentinel://s:1/m", "", "", "sentinel://r:1/m sentinel://s:1/m"}, "give masters of several Sentinels different names first"},
	} {
		_, err := lists(t, c.urls...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.urls, err, c.want)
		}
	}
}
