package rights

import (
	"slices"
	"strings"
)

// Role is what a Redis serves as.
type Role string

// The roles.
const (
	Data   Role = "data"
	PubSub Role = "pubsub"
	Inbox  Role = "inbox"
)

// Roles lists all of them.
var Roles = []Role{Data, PubSub, Inbox}

// commands is what each role needs beside everyRole, named as ACL rules name
// them.
var commands = map[Role][]string{
	Data: {
		"hget", "hgetall", "hincrby", "hlen", "mget", "mset", "persist", "pexpire", "pttl",
		"sadd", "smembers", "srem", "xadd", "xrange", "xrevrange", "zadd", "zcard", "zincrby", "zrange", "zrem",
		"evalsha", "script|load", "multi", "exec", "wait",
	},
	PubSub: {"publish", "subscribe", "evalsha"},
	Inbox: {
		"getrange",
		"hexists", "hget", "hgetall", "hincrby", "pexpire", "pttl",
		"zadd", "zcard", "zrange", "zrem", "zremrangebyrank", "zscore",
		"xadd", "xdel", "xinfo|stream", "xlen", "xrange", "xrevrange",
		"evalsha", "script|load", "multi", "exec", "wait",
	},
}

// everyRole is what discovery needs, and what enters and compares the layout.
var everyRole = []string{
	"info", "ping", "select",
	"eval", "time", "get", "set", "del", "exists", "expire", "hdel", "hmget", "hset", "scan",
}

// Commands lists what a user must be allowed that serves all the roles given,
// sorted. AUTH and HELLO are allowed to everybody.
func Commands(roles ...Role) []string {
	all := slices.Clone(everyRole)
	for _, role := range roles {
		all = append(all, commands[role]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ACL returns the rules of such a user, as in ACL SETUSER, without its name and
// password.
func ACL(prefix string, roles ...Role) string {
	return "~" + prefix + ":* &" + prefix + ":* -@all +" + strings.Join(Commands(roles...), " +")
}

// Sentinel is the rules of the hub's user at a Sentinel. sentinel|slaves serves
// as well as sentinel|replicas, and without sentinel|sentinels those that the
// URL names are asked alone.
const Sentinel = "&* -@all +ping +subscribe +sentinel|get-master-addr-by-name +sentinel|replicas +sentinel|sentinels"

// harmless is how a command is tried inside a script: so that it changes
// nothing, because the key is not there or the arguments are wrong. Redis
// looks at the rights before it looks at those, but after it has counted them.
var harmless = map[string]string{
	"del":             "del KEY",
	"exists":          "exists KEY",
	"expire":          "expire KEY 1",
	"get":             "get KEY",
	"getrange":        "getrange KEY 0 0",
	"hdel":            "hdel KEY f",
	"hexists":         "hexists KEY f",
	"hget":            "hget KEY f",
	"hgetall":         "hgetall KEY",
	"hincrby":         "hincrby KEY f none",
	"hlen":            "hlen KEY",
	"hmget":           "hmget KEY f",
	"hset":            "hset KEY f v f",
	"info":            "info memory",
	"mget":            "mget KEY",
	"mset":            "mset KEY v KEY",
	"persist":         "persist KEY",
	"pexpire":         "pexpire KEY 1",
	"pttl":            "pttl KEY",
	"publish":         "publish CHANNEL 0",
	"sadd":            "sadd KEY m", // the script takes it out again
	"scan":            "scan 0 count 1",
	"set":             "set KEY v xx",
	"smembers":        "smembers KEY",
	"srem":            "srem KEY m",
	"time":            "time",
	"xadd":            "xadd KEY none f v",
	"xdel":            "xdel KEY 1-0",
	"xinfo|stream":    "xinfo stream KEY",
	"xlen":            "xlen KEY",
	"xrange":          "xrange KEY - + count 1",
	"xrevrange":       "xrevrange KEY + - count 1",
	"zadd":            "zadd KEY none m",
	"zcard":           "zcard KEY",
	"zincrby":         "zincrby KEY none m",
	"zrange":          "zrange KEY 0 0",
	"zrem":            "zrem KEY m",
	"zremrangebyrank": "zremrangebyrank KEY 0 0",
	"zscore":          "zscore KEY m",
}

// refusals are parts of the replies that say that this user, or nobody, may run a
// command.
var refusals = []string{
	"NOPERM", "user executing the script can't", "unknown command", "Unknown Redis command called from script",
}

// refused reports whether an error reply is a refusal of the command itself.
func refused(reply string) bool {
	return slices.ContainsFunc(refusals, func(part string) bool { return strings.Contains(reply, part) })
}
