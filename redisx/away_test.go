package redisx_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// A process that starts while its Redis is away says so at once, with the
// address, and again, and does not speak of a master.
func TestAwayAtTheStart(t *testing.T) {
	t.Parallel()
	port, err := redisproc.FreePort(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for name, url := range map[string]string{"server": "redis://" + addr, "sentinel": "sentinel://" + addr + "/m"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &journal{}
			r, err := redisx.New(redistest.Config(t, url), slog.New(slog.NewTextHandler(log, nil)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Data.Lead().Master(); !errors.Is(err, redisx.ErrNotAsked) {
				t.Errorf("before it was asked: %v", err)
			}
			run(t, r)
			said := func() int { return log.lines("level=WARN", "redis does not serve", addr, "connection refused") }
			within(t, 4*time.Second, "a line says that it is away", func() bool { return said() == 1 })
			if err := r.Err(); err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%v, want the same", err)
			}
			if _, err := r.Data.Lead().Master(); !errors.Is(err, redisx.ErrNoMaster) || errors.Is(err, redisx.ErrNotAsked) {
				t.Errorf("after it was asked: %v", err)
			}
			again := within(t, 15*time.Second, "it is said again", func() bool { return said() == 2 })
			if again < 3*time.Second {
				t.Errorf("said again after %v, want not more often than every 5 s", again)
			}
			if n := log.lines("master="); n > 0 {
				t.Errorf("%d lines name a master that nobody has seen", n)
			}
		})
	}
}

// A shard that has a master again is not spoken of any more.
func TestBackAfterTheStart(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	r, log, _ := open(t, redistest.Config(t, "redis://"+p.Addr()))
	if err := r.Err(); err != nil || log.lines("redis does not serve") > 0 {
		t.Errorf("%v, though it was there from the beginning", err)
	}
	p.Crash()
	within(t, 5*time.Second, "a line says that it is away", func() bool { return log.lines("redis does not serve", p.Addr()) == 1 })
	if err := p.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "it serves", func() bool { return r.Err() == nil })
}

// sentinelUser makes a user of a Sentinel with the rules given, and returns the
// configuration of somebody who goes by it.
func sentinelUser(t *testing.T, s *redisproc.Server, name, rules string) redisx.Config {
	t.Helper()
	c := s.Client()
	defer c.Close()
	args := []any{"ACL", "SETUSER", name, "on", ">pw", "&*", "-@all", "+ping", "+sentinel|get-master-addr-by-name"}
	for rule := range strings.FieldsSeq(rules) {
		args = append(args, rule)
	}
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return redistest.Config(t, fmt.Sprintf("sentinel://%s/m?sentinel_username=%s&sentinel_password=pw", s.Addr(), name))
}

// Either name of the command that lists replicas will do, and what a Sentinel
// refuses is named.
func TestSentinelRights(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 1}}, Sentinels: 1,
	})
	s := top.Sentinels[0]
	for name, c := range map[string]struct {
		rules   string
		refused string // the one command that is; empty: none
	}{
		"today":   {"+subscribe +sentinel|replicas +sentinel|sentinels", ""},
		"old":     {"+subscribe +sentinel|slaves +sentinel|sentinels", ""},
		"alone":   {"+subscribe +sentinel|replicas", "sentinel|sentinels"},
		"silent":  {"+sentinel|replicas +sentinel|sentinels", "subscribe"},
		"nothing": {"+subscribe +sentinel|sentinels", "sentinel|replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &journal{}
			r, err := redisx.New(sentinelUser(t, s, name, c.rules), slog.New(slog.NewTextHandler(log, nil)), nil)
			if err != nil {
				t.Fatal(err)
			}
			run(t, r)
			if c.refused != "" {
				within(t, 10*time.Second, "a trouble names "+c.refused, func() bool {
					all := r.Troubles()
					return len(all) == 1 && all[0].Command == c.refused && all[0].Node == s.Addr() && strings.HasPrefix(all[0].Reply, "NOPERM")
				})
			}
			if name == "nothing" {
				within(t, 10*time.Second, "it says why there is no master", func() bool {
					err := r.Err()
					return err != nil && strings.Contains(err.Error(), "NOPERM") && !r.Troubles()[0].Spare
				})
				return
			}
			within(t, 10*time.Second, "master and replica", func() bool { return healthy(r.Data.Shards()[0]) == 2 })
			if all := r.Troubles(); c.refused == "" && len(all) > 0 || c.refused != "" && !all[0].Spare {
				t.Errorf("troubles %+v", all)
			}
			if c.refused == "" && log.lines("NOPERM") > 0 {
				t.Error("a refusal was logged")
			}
		})
	}
}

// A replica that knows another password is left out, and named as what others
// serve in the place of.
func TestWrongPasswordAtReplica(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 1}}, User: "homing", Password: "secret-of-ours",
	})
	replica := top.Groups[0].Replicas[0]
	c := replica.Client()
	defer c.Close()
	if err := c.Do(t.Context(), "ACL", "SETUSER", "homing", "resetpass", ">another").Err(); err != nil {
		t.Fatal(err)
	}
	r, log, _ := open(t, redistest.TopologyConfig(t, top))
	within(t, 10*time.Second, "the replica says why", func() bool {
		return strings.Contains(reason(r.Data.Shards()[0], replica.Addr()), "WRONGPASS")
	})
	all := r.Troubles()
	if len(all) != 1 || all[0].Node != replica.Addr() || !all[0].Spare || all[0].Command != "auth" {
		t.Errorf("troubles %+v", all)
	}
	if err := r.Err(); err != nil {
		t.Errorf("%v, though the master serves", err)
	}
	if n := log.lines("secret-of-ours"); n > 0 {
		t.Errorf("%d lines hold the password", n)
	}
}
