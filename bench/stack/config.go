package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Config is what every server reads at its start.
type Config struct {
	redis      *Redis
	file       string
	atMostOnce bool
	ownInbox   bool
	first      int // data shards that servers are told of at first
	used       int // that they are told of now
}

// Lists are the shards that servers are told of.
type Lists struct {
	Data          []string // the first ones of Redis.DataURLs; the inboxes' too
	DataPrevious  []string // before a change; empty: there is none
	InboxPrevious []string // the inboxes' before a change, if it is over for the index
}

// start writes what servers are told at first.
func (c *Config) start(context.Context) error {
	return c.Write(Lists{Data: c.redis.DataURLs()[:c.first]})
}

// Write changes what servers that start from now on are told. The front's
// workers read it when they are replaced.
func (c *Config) Write(l Lists) error {
	lines := []string{"redis-prefix: " + prefix, list("redis-data", l.Data), list("redis-pubsub", c.redis.PubSubURLs())}
	if len(l.DataPrevious) > 0 {
		lines = append(lines, list("redis-data-previous", l.DataPrevious))
	}
	if len(l.InboxPrevious) > 0 {
		lines = append(lines, list("redis-inbox", l.Data), list("redis-inbox-previous", l.InboxPrevious))
	}
	if c.ownInbox {
		all := c.redis.DataURLs()
		lines = append(lines, list("redis-inbox", all[len(all)-1:]))
	}
	if c.atMostOnce {
		lines = append(lines, "relay-at-most-once: true")
	}
	c.used = len(l.Data)
	next := c.file + ".next"
	err := os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
	if err = errors.Join(err, os.Rename(next, c.file)); err != nil {
		return fmt.Errorf("configure the servers: %w", err)
	}
	return nil
}

// list is one option with several values.
func list(option string, values []string) string {
	return option + ": " + strconv.Quote(strings.Join(values, " "))
}

// DataShards returns the names of the data masters that servers are told of.
func (c *Config) DataShards() []string { return c.redis.masters()[:c.used] }

// InboxMaster returns the name of the master of inboxes that have one of their own.
func (c *Config) InboxMaster() string { return DataShard(c.redis.dataShards() - 1) }
