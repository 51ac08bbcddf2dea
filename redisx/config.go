package redisx

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Config says where Redis is. Each element of Data, PubSub and Inbox is the
// URL of one shard:
//
//	redis://[user:password@]host:port[/db]
//	rediss://…                                     the same over TLS
//	sentinel://[user:password@]host:port,…/MASTER  what these Sentinels watch as MASTER
//
// Query parameters: ca, cert and key (PEM files) and server_name for TLS; and
// for sentinel:// also db, tls and sentinel_tls (true or false),
// sentinel_username and sentinel_password. A user needs the commands that its
// role uses, and +info +role +ping.
type Config struct {
	Data   []string `help:"Redis for the index, one URL per shard, separated by spaces: redis://, rediss:// or sentinel://." sep:" " default:"redis://127.0.0.1:6379"`
	PubSub []string `help:"Redis for messages between processes, one URL per shard, separated by spaces. Empty: the data shards." sep:" " name:"pubsub"`
	Inbox  []string `help:"Redis for stored notifications, one URL per shard, separated by spaces. Empty: the data shards." sep:" "`

	Prefix string `help:"First part of every key and channel, so that deployments can share a Redis." default:"homing"`

	DialTimeout  time.Duration `help:"How long a connection to Redis or to a Sentinel may take. Short, because during a failover somebody waits for it." default:"500ms"`
	ReadTimeout  time.Duration `help:"How long a reply of Redis may take, and a look at a node's health." default:"500ms"`
	WriteTimeout time.Duration `help:"How long a request to Redis may take to leave." default:"500ms"`
	PoolSize     int           `help:"Connections to each Redis server, at most. A command that finds none free waits for one." default:"16"`
}

// Limits of the options.
const (
	minTimeout  = 10 * time.Millisecond // below it a healthy server looks dead
	maxTimeout  = 30 * time.Second      // above it a failover is not noticed in time
	maxPoolSize = 10_000
	maxShards   = 64
	maxPrefix   = 64
)

// Validate reports the first option that cannot work, by its flag's name and
// value. It reads the PEM files that the URLs name. Errors hold no passwords.
func (c *Config) Validate() error {
	for _, t := range []struct {
		flag  string
		value time.Duration
	}{
		{"dial-timeout", c.DialTimeout}, {"read-timeout", c.ReadTimeout}, {"write-timeout", c.WriteTimeout},
	} {
		if t.value < minTimeout || t.value > maxTimeout {
			return fmt.Errorf("redis.%s: %s: want %s to %s", t.flag, t.value, minTimeout, maxTimeout)
		}
	}
	if c.PoolSize < 1 || c.PoolSize > maxPoolSize {
		return fmt.Errorf("redis.pool-size: %d: want 1 to %d", c.PoolSize, maxPoolSize)
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return fmt.Errorf("redis.prefix: %q: %w", c.Prefix, err)
	}
	if len(c.Data) == 0 {
		return errors.New("redis.data: no URL: want at least one")
	}
	_, err := c.targets()
	return err
}

func checkPrefix(p string) error {
	if p == "" || len(p) > maxPrefix {
		return fmt.Errorf("want 1 to %d bytes", maxPrefix)
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] > '~' {
			return errors.New("want printable ASCII without space")
		}
	}
	return nil
}

// targets parses the URLs of all three roles; equal URLs give one target.
func (c *Config) targets() (roles [3][]*target, err error) {
	seen := map[string]*target{}
	for i, urls := range [3][]string{c.Data, c.PubSub, c.Inbox} {
		flag := [3]string{"redis.data", "redis.pubsub", "redis.inbox"}[i]
		if len(urls) > maxShards {
			return roles, fmt.Errorf("%s: %d URLs: want at most %d", flag, len(urls), maxShards)
		}
		for j, raw := range urls {
			t := seen[raw]
			if t == nil {
				if t, err = parseURL(raw); err != nil {
					return roles, fmt.Errorf("%s[%d]: %s: %w", flag, j, redact(raw), err)
				}
				seen[raw] = t
			}
			if slices.Contains(roles[i], t) {
				return roles, fmt.Errorf("%s[%d]: %s: the same shard twice", flag, j, redact(raw))
			}
			roles[i] = append(roles[i], t)
		}
	}
	return roles, nil
}
