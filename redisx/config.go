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
// role uses, and +info +role +ping +wait.
//
// A shard's name is its server's host:port or the Sentinels' name of its
// master, with /db when that is not 0. Keys are spread by the names, so every
// process must use the same ones: hosts are written in lower case and IP
// addresses in their shortest form, but nothing is resolved: localhost and
// 127.0.0.1 are two names. Two masters that two sets of Sentinels call alike are told
// apart by the Sentinels' addresses; better give them names of their own.
type Config struct {
	Data   []string `help:"Redis for the index, one URL per shard, separated by spaces: redis://, rediss:// or sentinel://." sep:" " default:"redis://127.0.0.1:6379"`
	PubSub []string `help:"Redis for messages between processes, one URL per shard, separated by spaces. Empty: the data shards." sep:" " name:"pubsub"`
	Inbox  []string `help:"Redis for stored notifications, one URL per shard, separated by spaces. Empty: the data shards." sep:" "`

	DataPrevious  []string `help:"The list of --redis-data before a change, while its keys move to their new shards. Empty: nothing moves." sep:" "`
	InboxPrevious []string `help:"The list of --redis-inbox before a change, while stored notifications move to their new shards. Empty: nothing moves, unless the inbox is the data shards' and those change." sep:" "`

	Prefix string `help:"First part of every key and channel, so that deployments can share a Redis." default:"homing"`

	DialTimeout  time.Duration `help:"How long a connection to Redis or to a Sentinel may take. Short, because during a failover somebody waits for it." default:"500ms"`
	ReadTimeout  time.Duration `help:"How long a reply of Redis may take, and a look at a node's health." default:"500ms"`
	WriteTimeout time.Duration `help:"How long a request to Redis may take to leave." default:"500ms"`
	PoolSize     int           `help:"Connections to each Redis server, at most. A command that finds none free waits for one. Writes that wait for replicas have up to four times as many of their own, opened as needed." default:"16"`
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

// The lists of URLs that a Config has.
const (
	listData = iota
	listPubSub
	listInbox
	listDataPrevious
	listInboxPrevious
	listCount
)

var listFlags = [listCount]string{"redis.data", "redis.pubsub", "redis.inbox", "redis.data-previous", "redis.inbox-previous"}

// presentOf is the list that a previous list has become.
var presentOf = [listCount]int{listDataPrevious: listData, listInboxPrevious: listInbox}

// targets parses the URLs of all lists and names their targets. Equal URLs
// give one target, and so does a URL of a previous list that leads to a server
// of the present one, whatever user it names.
func (c *Config) targets() (lists [listCount][]*target, err error) {
	var all []*target
	for i, urls := range [listCount][]string{c.Data, c.PubSub, c.Inbox, c.DataPrevious, c.InboxPrevious} {
		if len(urls) > maxShards {
			return lists, fmt.Errorf("%s: %d URLs: want at most %d", listFlags[i], len(urls), maxShards)
		}
		for j, raw := range urls {
			t, err := parseURL(raw)
			if err != nil {
				return lists, fmt.Errorf("%s[%d]: %s: %w", listFlags[i], j, redact(raw), err)
			}
			if slices.ContainsFunc(lists[i], t.leadsTo) {
				return lists, fmt.Errorf("%s[%d]: %s: the same shard twice", listFlags[i], j, redact(raw))
			}
			t = t.or(all, lists[presentOf[i]], i >= listDataPrevious)
			all = append(all, t)
			lists[i] = append(lists[i], t)
		}
	}
	return lists, nameAll(lists)
}

// or returns the one of all that has the same URL, or, for a previous list,
// the one of the present list that leads to the same server, or else t.
func (t *target) or(all, present []*target, previous bool) *target {
	if i := slices.IndexFunc(present, t.leadsTo); previous && i >= 0 {
		return present[i]
	}
	if i := slices.IndexFunc(all, func(o *target) bool { return o.url == t.url }); i >= 0 {
		return all[i]
	}
	return t
}
