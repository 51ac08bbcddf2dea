package index

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// TestLocateNow has replicas that lack a user, as one that is behind does.
func TestLocateNow(t *testing.T) {
	top, cfg := replicated(t)
	w := newWorld(t, cfg)
	ix := w.index(short)
	w.process(short).set(t, "anna", one("chess")...)
	w.forgetOnReplicas(t, w.keys.User("anna"))

	// They are read from when they have been healthy for two seconds.
	eventually(t, 10*time.Second, "look-ups at a replica", func() bool { return where(t, ix, "anna") == nil })
	p, err := ix.LocateNow(t.Context(), []hub.UserID{"anna"}, nil)
	if err != nil || p.Online != 1 || len(p.Groups) != 1 {
		t.Errorf("%+v, %v; want her found", p, err)
	}
	master, err := top.Current(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	master.Crash()
	eventually(t, 5*time.Second, "an answer without the master", func() bool {
		_, err := ix.LocateNow(t.Context(), []hub.UserID{"anna"}, nil)
		return err == nil
	})
}

// forgetOnReplicas removes key from every replica, behind the master's back.
func (w *world) forgetOnReplicas(t *testing.T, key string) {
	t.Helper()
	for _, n := range w.r.Data.Shards()[0].Nodes() {
		if n.Role != redisx.Replica {
			continue
		}
		c := redis.NewClient(&redis.Options{Addr: n.Addr, Protocol: 2})
		eventually(t, 5*time.Second, "the replica has the key", func() bool { return c.Exists(t.Context(), key).Val() == 1 })
		if err := c.ConfigSet(t.Context(), "replica-read-only", "no").Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
