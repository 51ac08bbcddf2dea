package index

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/redisx/redistest"
)

const (
	a1, a2 = string(pidA) + "=a*1", string(pidA) + "=a*2"
	b1, c1 = string(pidB) + "=b*1", "CCCCCCCCCCC=*1"
)

func TestPutScript(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		for _, tc := range []struct {
			name               string
			before, put, after string
			changed            int
		}{
			{"first", "", "a*1", a1, 1},
			{"again", a1, "a*1", a1, 0},
			{"replace alone", a1, "a*2", a2, 1},
			{"remove the last", a1, "", "", 1},
			{"remove nothing", "", "", "", 0},
			{"beside others", b1, "a*1", b1 + " " + a1, 1},
			{"in place", b1 + " " + a1 + " " + c1, "a*2", b1 + " " + a2 + " " + c1, 1},
			{"unchanged in place", a1 + " " + b1, "a*1", a1 + " " + b1, 0},
			{"remove from others", b1 + " " + a1 + " " + c1, "", b1 + " " + c1, 1},
			{"not there to remove", b1, "", b1, 0},
			{"there twice", a1 + " " + b1 + " " + a2, "a*1", a1 + " " + b1, 1},
			{"what it cannot read stays", "junk", "a*1", "junk " + a1, 1},
		} {
			t.Run(tc.name, func(t *testing.T) {
				ctx := t.Context()
				setOrDel(ctx, t, c, "k", tc.before)
				changed, err := putScript.Run(ctx, c, []string{"k"}, string(pidA), tc.put).Int()
				if err != nil {
					t.Fatal(err)
				}
				if got := get(ctx, t, c, "k"); got != tc.after || changed != tc.changed {
					t.Errorf("%q, %d changed; want %q, %d", got, changed, tc.after, tc.changed)
				}
			})
		}
	})
}

func TestPutScriptTakesManyUsers(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		var keys []string
		argv := []any{string(pidA)}
		for i := range scriptUsers {
			keys = append(keys, "k"+string(rune('A'+i)))
			if i%2 == 0 {
				setOrDel(ctx, t, c, keys[i], a1)
				argv = append(argv, "")
			} else {
				setOrDel(ctx, t, c, keys[i], b1)
				argv = append(argv, "a*1")
			}
		}
		if changed, err := putScript.Run(ctx, c, keys, argv...).Int(); err != nil || changed != scriptUsers {
			t.Fatalf("%d changed, %v", changed, err)
		}
		for i, k := range keys {
			want := b1 + " " + a1
			if i%2 == 0 {
				want = ""
			}
			if got := get(ctx, t, c, k); got != want {
				t.Errorf("%s is %q, want %q", k, got, want)
			}
		}
	})
}

func TestSweepScript(t *testing.T) {
	redistest.OnEach(t, func(t *testing.T, c *redis.Client) {
		ctx := t.Context()
		values := map[string]string{"k1": a1, "k2": b1, "k3": a1 + " " + b1 + " " + c1, "k4": a1 + " junk", "k5": c1}
		for k, v := range values {
			setOrDel(ctx, t, c, k, v)
		}
		setOrDel(ctx, t, c, "wB", "{}") // B has come back meanwhile
		keys := []string{"wA", "wB", "k1", "k2", "k3", "k4", "k5", "none"}
		removed, err := sweepScript.Run(ctx, c, keys, 2, string(pidA), string(pidB)).Int()
		if err != nil || removed != 3 {
			t.Errorf("removed %d, %v, want 3", removed, err)
		}
		want := map[string]string{"k1": "", "k2": b1, "k3": b1 + " " + c1, "k4": "junk", "k5": c1}
		got := map[string]string{}
		for k := range values {
			got[k] = get(ctx, t, c, k)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func setOrDel(ctx context.Context, t *testing.T, c *redis.Client, key, value string) {
	t.Helper()
	cmd := redis.Cmder(c.Set(ctx, key, value, 0))
	if value == "" {
		cmd = c.Del(ctx, key)
	}
	if err := cmd.Err(); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, t *testing.T, c *redis.Client, key string) string {
	t.Helper()
	v, err := c.Get(ctx, key).Result()
	if err != nil && err != redis.Nil { //nolint:errorlint // as go-redis documents it
		t.Fatal(err)
	}
	return v
}
