package rights

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/embedded"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

var quiet = slog.New(slog.DiscardHandler)

// within waits until ok.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// user makes a user with the rules given, and returns its URL.
func user(t *testing.T, p *redisproc.Server, name string, rules ...string) string {
	t.Helper()
	c := p.Client()
	defer c.Close()
	args := []any{"ACL", "SETUSER", name, "reset", "on", ">pw"}
	for _, r := range rules {
		for rule := range strings.FieldsSeq(r) {
			args = append(args, rule)
		}
	}
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("redis://%s:pw@%s", name, p.Addr())
}

// checked runs a check on cfg until the test ends.
func checked(t *testing.T, cfg redisx.Config, reg *prometheus.Registry) *Check {
	t.Helper()
	c := New(redistest.Open(t, cfg), hub.NewKeys(cfg.Prefix), quiet, reg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestEachCommandIsMissed takes one command after the other from a user that has
// all that it needs, and expects that one to be named, and nothing to be left
// in Redis.
func TestEachCommandIsMissed(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	all := Commands(Roles...)
	untried := []string{"info", "ping", "select", "subscribe"} // told by themselves
	keys := hub.NewKeys("homing")
	for _, name := range all {
		if slices.Contains(untried, name) {
			continue
		}
		opts, err := redis.ParseURL(user(t, p, "u", ACL("homing", Roles...), "-"+name))
		if err != nil {
			t.Fatal(err)
		}
		opts.Protocol, opts.DisableIdentity = 2, true
		c := redis.NewClient(opts)
		missing, err := try(t.Context(), c, keys, all)
		_ = c.Close()
		want := []string{name}
		switch {
		case err != nil:
			t.Errorf("without %s: %v", name, err)
		case !slices.Equal(missing, want):
			t.Errorf("without %s: missing %v", name, missing)
		}
	}
	admin := p.Client()
	defer admin.Close()
	if n := admin.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys left", n)
	}
}

// TestCheck: the check names what a role's user lacks and sees that it is mended.
func TestCheck(t *testing.T) {
	t.Parallel()
	p := redistest.Process(t, redisproc.ServerOptions{})
	cfg := redistest.Config(t, "")
	cfg.Data = []string{user(t, p, "data", ACL(cfg.Prefix, Data))}
	cfg.PubSub = []string{user(t, p, "pubsub", ACL(cfg.Prefix, PubSub)) + "/1"}
	cfg.Inbox = []string{user(t, p, "inbox", ACL(cfg.Prefix, Inbox), "-time") + "/2"}
	reg := prometheus.NewRegistry()
	c := checked(t, cfg, reg)
	within(t, 10*time.Second, "an answer", func() bool { return !errors.Is(c.Err(), ErrNotAsked) })
	within(t, 10*time.Second, "TIME is named", func() bool {
		m := c.Missing()
		return len(m) == 1 && slices.Equal(m[0].Commands, []string{"time"}) && m[0].Node == p.Addr() && !m[0].Replica
	})
	if err := c.Err(); !errors.Is(err, redisx.ErrMisconfigured) || !strings.Contains(err.Error(), p.Addr()+" refuses TIME") {
		t.Errorf("%v, want it to name TIME", err)
	}
	if n := testutil.ToFloat64(c.gauge.WithLabelValues(p.Addr()+"/2", p.Addr())); n != 1 {
		t.Errorf("the gauge says %v", n)
	}
	user(t, p, "inbox", ACL(cfg.Prefix, Inbox))
	within(t, 10*time.Second, "it is mended", func() bool { return c.Err() == nil && len(c.Missing()) == 0 })
}

// TestReplica: what a replica alone refuses is said as such, and is no reason
// not to serve.
func TestReplica(t *testing.T) {
	t.Parallel()
	top := redistest.Topology(t, redisproc.TopologyOptions{
		Masters: []redisproc.MasterSpec{{Name: "m", Replicas: 1}}, User: "homing", Password: "pw",
	})
	replica := top.Groups[0].Replicas[0]
	admin := replica.Client()
	defer admin.Close()
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "homing", "-xrange", "-publish").Err(); err != nil {
		t.Fatal(err)
	}
	c := checked(t, redistest.TopologyConfig(t, top), prometheus.NewRegistry())
	within(t, 60*time.Second, "the replica is named", func() bool {
		m := c.Missing()
		return len(m) == 1 && m[0].Node == replica.Addr() && m[0].Replica && slices.Equal(m[0].Commands, []string{"publish", "xrange"})
	})
	if err := c.Err(); err != nil {
		t.Errorf("%v, though the master serves", err)
	}
}

// TestStandIn: the Redis of homing dev where none is installed does all of it.
func TestStandIn(t *testing.T) {
	t.Parallel()
	url, stop, err := embedded.StartInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	c := checked(t, redistest.Config(t, url), prometheus.NewRegistry())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.WaitGranted(ctx); err != nil {
		t.Error(err)
	}
}

// TestRenamed: a command that the operator has taken away is named too.
func TestRenamed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"time", "evalsha"} {
		p := redistest.Process(t, redisproc.ServerOptions{Config: []string{"rename-command " + name + ` ""`}})
		c := checked(t, redistest.Config(t, "redis://"+p.Addr()), prometheus.NewRegistry())
		within(t, 10*time.Second, name+" is named", func() bool {
			m := c.Missing()
			return len(m) == 1 && slices.Equal(m[0].Commands, []string{name})
		})
	}
}

// TestScriptsNeedNothingElse: each command that a script of the hub calls is
// among those that some role lists, and is tried.
func TestScriptsNeedNothingElse(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?`) // and a subcommand
	files, err := filepath.Glob("../*/lua/*.lua")
	below, belowErr := filepath.Glob("../*/*/lua/*.lua")
	if files = append(files, below...); err != nil || belowErr != nil || len(below) < 4 || len(files) < 9 {
		t.Fatalf("%d scripts, %d of them of packages below others, %v, %v", len(files), len(below), err, belowErr)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		role := Data
		for _, folder := range []string{"/inbox/", "/hook/", "/unreached/", "/room/host/"} {
			if strings.Contains(file, folder) {
				role = Inbox
			}
		}
		for _, m := range call.FindAllStringSubmatch(string(source), -1) {
			name := strings.ToLower(strings.TrimSuffix(m[1]+"|"+m[2], "|"))
			if !slices.Contains(Commands(role), name) || harmless[name] == "" {
				t.Errorf("%s calls %s: add it to the role %s in commands, and to harmless", file, name, role)
			}
		}
	}
}

var update = flag.Bool("update", false, "write the rights into documentation and examples")

// TestDocs: the documentation and the example of a configuration give exactly
// these rights. With -update they are given them.
func TestDocs(t *testing.T) {
	t.Parallel()
	const docs, users, sentinels = "../../docs/operations.md", "../../deploy/redis/users.conf", "../../deploy/redis/sentinel-users.conf"
	for _, line := range []struct{ file, begins, rules string }{
		{docs, "data      ", ACL("homing", Data)},
		{docs, "pub/sub   ", ACL("homing", PubSub)},
		{docs, "inbox     ", ACL("homing", Inbox)},
		{docs, "          ~", ACL("homing", Roles...)[1:]}, // all of them
		{docs, "Sentinel  ", Sentinel},
		{users, "user homing-data on >change-me ", ACL("homing", Data)},
		{users, "user homing-pubsub on >change-me ", ACL("homing", PubSub)},
		{users, "user homing-inbox on >change-me ", ACL("homing", Inbox)},
		{sentinels, "user homing on >change-me ", Sentinel},
	} {
		text, err := os.ReadFile(line.file)
		if err != nil {
			t.Fatal(err)
		}
		want := line.begins + line.rules
		if strings.Contains(string(text), "\n"+want+"\n") {
			continue
		}
		if !*update {
			t.Errorf("%s has no line %q: go test ./hub/rights -run TestDocs -update", line.file, want)
			continue
		}
		whole := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line.begins) + `.*$`)
		if err := os.WriteFile(line.file, whole.ReplaceAllLiteral(text, []byte(want)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
