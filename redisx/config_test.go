package redisx_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/homing/homing/redisx"
	"github.com/homing/homing/redisx/redistest"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, want string }{
		{"redis://127.0.0.1:6379", ""},
		{"redis://127.0.0.1:6379/3", ""},
		{"redis://:secret@127.0.0.1:6379", ""},
		{"redis://user:secret@[::1]:6379", ""},
		{"rediss://redis.example:6380?server_name=r", ""},
		{"sentinel://a:26379,b:26379,c:26379/m", ""},
		{"sentinel://user:s%40cret@a:26379,[::1]:26379/m?sentinel_password=x&db=2&tls=true&sentinel_tls=false", ""},
		{"", "want redis://host:port"},
		{"secret", "want redis://host:port"},
		{"http://a:1", "want redis://host:port"},
		{"redis://a", "want redis://host:port"},
		{"redis://a:0", "want redis://host:port"},
		{"redis://a:65536", "want redis://host:port"},
		{"redis://:6379", "want redis://host:port"},
		{"redis://a:1,b:1", "2 addresses"},
		{"redis://a:1/x", "db: want a number"},
		{"redis://a:1?ca=x", `parameter "ca": unknown here`},
		{"redis://user@a:1", "a user without a password"},
		{"redis://u:secret%zz@a:1", "percent-encode the password"},
		{"rediss://a:1?ca=/does/not/exist", "ca: open /does/not/exist"},
		{"rediss://a:1?ca=config.go", "ca: config.go: no certificate in it"},
		{"rediss://a:1?cert=config.go", "cert and key"},
		{"sentinel://a:1", "a name of the master"},
		{"sentinel://a:1/m/n", "a name of the master"},
		{"sentinel://a:1,a:1/m", `"a:1": twice`},
		{"sentinel://a:1/m?tls=yes", "tls: want true or false"},
		{"sentinel://a:1/m?db=-1", "db: want a number"},
		{"sentinel://a:1/m?sentinel_username=x", "sentinel_username without"},
		{"sentinel://a:1/m?db=1&db=2", `parameter "db": 2 times`},
		{"sentinel://a:1/m?bogus=secret", `parameter "bogus"`},
		{"redis://:secret?x@a:1", "percent-encode the password"},
		{"redis://:secret/x@a:1", "percent-encode the password"},
		{"redis://hub:secret#x@a:1/0", "percent-encode the password"},
		{"redis://secret:12/x@a:1", "percent-encode the password"}, // secret:12 could be an address
		{"redis://hub:se%secret@a:1", "percent-encode the password"},
		{"redis://:secret", "percent-encode the password"}, // the list was split at a space in it
		{"secret@a:1", "want redis://host:port"},           // and this is the other half
		{"secret://a:1", "want redis://host:port"},
		{"sentinel://:secret?x@a:1/m", "percent-encode the password"},
		{"sentinel://secret:1?x@a:1/m", "percent-encode the password"},
		{"sentinel://a:1/m?sentinel_password=x&secret", "percent-encode the password"},
		{"sentinel://a:1/m?sentinel_password=x#secret", "percent-encode the password"},
		{"sentinel://a:1/m?sentinel_password=x;secret", "percent-encode the password"},
		{"sentinel://a:1/m?sentinel_password=x%secret", "percent-encode the password"},
		{"sentinel://a:1/m?sentinel_password=p@ss", ""},
	} {
		cfg := redistest.Config(t, c.url)
		err := cfg.Validate()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.url, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.url, err, c.want)
		case err != nil && (strings.Contains(err.Error(), "secret") || !strings.HasPrefix(err.Error(), "redis.data[0]: ")):
			t.Errorf("%s: error %q tells a secret or does not begin with the flag", c.url, err)
		}
	}
}

func TestValidateOptions(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*redisx.Config){
		"redis.dial-timeout: 0s":     func(c *redisx.Config) { c.DialTimeout = 0 },
		"redis.read-timeout: 1m0s":   func(c *redisx.Config) { c.ReadTimeout = time.Minute },
		"redis.write-timeout: -1s":   func(c *redisx.Config) { c.WriteTimeout = -time.Second },
		"redis.pool-size: 0":         func(c *redisx.Config) { c.PoolSize = 0 },
		`redis.prefix: "a b"`:        func(c *redisx.Config) { c.Prefix = "a b" },
		`redis.prefix: ""`:           func(c *redisx.Config) { c.Prefix = "" },
		"redis.data: no URL":         func(c *redisx.Config) { c.Data = nil },
		"redis.pubsub[1]: redis://a": func(c *redisx.Config) { c.PubSub = []string{"redis://a:1", "redis://a:1"} },
		"redis.inbox[0]: (no URL)":   func(c *redisx.Config) { c.Inbox = []string{"x://a:1"} },
		"redis.data: 65 URLs":        func(c *redisx.Config) { c.Data = make([]string, 65) },
	} {
		cfg := redistest.Config(t, "redis://127.0.0.1:1")
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want it to begin with %q", err, want)
		}
	}
}

// One option holds several URLs, and commas in them are theirs.
func TestFlags(t *testing.T) {
	var cli struct {
		Redis redisx.Config `embed:"" prefix:"redis-"`
	}
	parser, err := kong.New(&cli, kong.DefaultEnvars("HOMING"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOMING_REDIS_PUBSUB", "sentinel://a:1,b:1/m1 sentinel://a:1,b:1/m2")
	if _, err := parser.Parse([]string{"--redis-data=redis://a:1", "--redis-data", "redis://b:1 redis://c:1"}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(cli.Redis.Data); got != "[redis://a:1 redis://b:1 redis://c:1]" {
		t.Errorf("data %s", got)
	}
	if len(cli.Redis.PubSub) != 2 || cli.Redis.PubSub[1] != "sentinel://a:1,b:1/m2" {
		t.Errorf("pubsub %q", cli.Redis.PubSub)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	cfg := redistest.Config(t, "redis://127.0.0.1:1")
	cfg.Data = append(cfg.Data, "redis://127.0.0.1:2", "sentinel://a:1/m", "sentinel://b:1/m")
	cfg.PubSub = []string{"redis://127.0.0.1:2"}
	r, err := redisx.New(cfg, logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.PubSub.Shards()[0] != r.Data.Shards()[1] || r.Inbox != r.Data {
		t.Error("roles on the same Redis do not share its shard")
	}
	if a, b := r.Data.Shards()[2].Name(), r.Data.Shards()[3].Name(); a == b {
		t.Errorf("two shards are both called %s", a)
	}
	reversed := cfg
	reversed.Data = []string{cfg.Data[2], cfg.Data[0], cfg.Data[1]}
	q, err := redisx.New(reversed, logger(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for i := range 4000 {
		key := fmt.Sprintf("user-%d", i)
		before, after := r.Data.Shard(key).Name(), q.Data.Shard(key).Name()
		counts[before]++
		if before != r.Data.Shards()[3].Name() && before != after {
			t.Fatalf("%s moved from %s to %s when another shard left", key, before, after)
		}
	}
	for name, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("%d of 4000 keys on %s", n, name)
		}
	}
}

func FuzzURL(f *testing.F) {
	f.Add("redis://user:pw@127.0.0.1:6379/0")
	f.Add("sentinel://user:pw@a:26379,[::1]:26379/m?db=1&tls=false")
	f.Add("sentinel://@,/?%")
	f.Fuzz(func(t *testing.T, url string) {
		if strings.Contains(url, "ca=") || strings.Contains(url, "cert=") {
			return // it would read files
		}
		cfg := redistest.Config(t, url)
		_ = cfg.Validate()
		// Whatever a password holds, no error tells it.
		for _, form := range []string{"redis://u:SECRET%s@h:1", "sentinel://h:1/m?sentinel_password=%sSECRET", "sentinel://SECRET%s@h:1/m?db=x"} {
			cfg = redistest.Config(t, fmt.Sprintf(form, url))
			if err := cfg.Validate(); err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%q: %v", cfg.Data[0], err)
			}
		}
	})
}
