package hub

import "strconv"

// Keys builds every Redis key and channel name that Homing uses, so that
// deployments and tests can share a Redis without meeting. All names start
// with the prefix and a colon.
//
//	<p>:u:<user>      string  where a user is connected (hub/index)
//	<p>:f:<user>      string  the friends that were stored for a user (hub/presence)
//	<p>:ut:<topic>    string  where a topic has members, in the same form
//	<p>:w:<process>   string  a process's lease and description, with a TTL
//	<p>:x:<process>   string  a tombstone: the process is dead, with a TTL (hub/lease)
//	<p>:procs         zset    every process that may still own index entries
//	<p>:moves         string  when the last user of a shard came or went (hub/index)
//	<p>:turn:<job>    string  who does a periodic job this time (hub/index)
//	<p>:once:<scope>:<id>     an idempotency key and the reply it got
//	<p>:oa:<scope>    hash    the bytes that those take, by when they lapse
//	<p>:i:<user>      stream  the notifications kept for a user (hub/inbox)
//	<p>:in:<user>     zset    ids of those, and of some that are gone, by position
//	<p>:ib:<user>     hash    the bytes they take, and what is gone
//	<p>:it:<topic>, :int:, :ibt:  the same of what is kept for a topic
//	<p>:ia:<account>  hash    the bytes that a caller has stored, by when they lapse
//	<p>:ih            string  since when a shard's inboxes are whole (hub/inbox)
//	<p>:r:<room>      hash    a room: its owner and epoch (hub/room/directory)
//	<p>:ro:<process>  set     the rooms that a process owns, by the rooms' shards
//	<p>:rooms         zset    all rooms of a shard, by when they were made
//	<p>:roomowners    set     the processes that own rooms of a shard
//	<p>:roomoffers    zset    the processes that take rooms, by the seats that they have
//	<p>:rc:<room>     string  the last checkpoint of a room (inbox role)
//	<p>:hs:<n>        stream  events for game backends, of one partition (hub/hook)
//	<p>:hb:<n>        hash    the bytes that they take, and how many were given up
//	<p>:hl:<n>        string  who sends them now, with a TTL
//	<p>:hw:<n>:<w>    string  how far a publisher has written there, with a TTL
//	<p>:hm            hash    which processes send events, and until when they count
//	<p>:hn            hash    how the endpoint has answered
//	<p>:hs:<e>:<n>, …         the same six of the endpoint with the name e
//	<p>:he            hash    the endpoints, and when each was last sent for
//	<p>:nu            zset    users whom a notification missed, by when they are looked for (hub/unreached)
//	<p>:nut           string  who looks for them now, with a TTL
//	<p>:m:<queue>:<part>      a queue's tickets and matches (hub/match)
//	<p>:fleet:<part>          nodes and who was assigned to them (hub/fleet/roster)
//	<p>:layout        hash    how the deployment uses Redis (hub/layout), and
//	<p>:layout:before string  how it did before, while that changes
//	<p>:rights        key and channel by which rights are tried; never there (hub/rights)
//	<p>:c:<process>   channel what a process receives (hub/relay)
type Keys struct{ prefix string }

// DefaultPrefix is the prefix of a deployment that does not choose one.
const DefaultPrefix = "homing"

// NewKeys returns the names under prefix; an empty prefix means DefaultPrefix.
func NewKeys(prefix string) Keys {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return Keys{prefix: prefix}
}

// User is the key of a user's index entry, or of a topic's, by its Address.
func (k Keys) User(u UserID) string { return k.of("u", u) }

// of is the key of a kind for a user, or for a topic, by its Address.
func (k Keys) of(kind string, u UserID) string {
	if t, ok := u.Topic(); ok {
		return k.prefix + ":" + kind + "t:" + string(t)
	}
	return k.prefix + ":" + kind + ":" + string(u)
}

// AppendUser appends what User returns to dst, for callers that build many.
func (k Keys) AppendUser(dst []byte, u UserID) []byte {
	dst = append(dst, k.prefix...)
	if IsTopic(u) {
		dst = append(dst, ":ut:"...)
		return append(dst, u[len(addressMark):]...)
	}
	dst = append(dst, ":u:"...)
	return append(dst, u...)
}

// UserPattern matches every key that User builds, for SCAN.
func (k Keys) UserPattern() string { return globEscape(k.prefix) + ":u*" }

// UserOf returns the user whose index entry stands under key, the inverse of User
// for those that are no topics.
func (k Keys) UserOf(key string) (UserID, bool) {
	p := k.prefix + ":u:"
	if len(key) <= len(p) || key[:len(p)] != p {
		return "", false
	}
	return UserID(key[len(p):]), true
}

// Friends is the key of the list of friends that was stored for a user.
func (k Keys) Friends(u UserID) string { return k.prefix + ":f:" + string(u) }

// Lease is the key of a process's lease.
func (k Keys) Lease(p ProcessID) string { return k.prefix + ":w:" + string(p) }

// Tombstone is the key that says that a process was declared dead, or left.
func (k Keys) Tombstone(p ProcessID) string { return k.prefix + ":x:" + string(p) }

// Processes is the key of the sorted set of processes, scored by the Unix
// time in seconds of their last renewal.
func (k Keys) Processes() string { return k.prefix + ":procs" }

// Moves is the key of the time of the last move of a shard's users, in microseconds.
func (k Keys) Moves() string { return k.prefix + ":moves" }

// Turn is the key that says who has the turn at a periodic job: whoever sets
// it, with the job's period as its TTL, while it is not there.
func (k Keys) Turn(job string) string { return k.prefix + ":turn:" + job }

// Once is the key of an idempotency record.
func (k Keys) Once(scope, id string) string { return k.prefix + ":once:" + scope + ":" + id }

// OnceAccount is the key of what the idempotency records of a scope take.
func (k Keys) OnceAccount(scope string) string { return k.prefix + ":oa:" + scope }

// Inbox is the key of the stream of notifications that are kept for u.
func (k Keys) Inbox(u UserID) string { return k.of("i", u) }

// InboxIDs is the key of the ids of what u's inbox holds or held.
func (k Keys) InboxIDs(u UserID) string { return k.of("in", u) }

// InboxBook is the key of the accounts of u's inbox.
func (k Keys) InboxBook(u UserID) string { return k.of("ib", u) }

// InboxAccounts begins the keys of the accounts of what callers have stored:
// the account's name follows.
func (k Keys) InboxAccounts() string { return k.prefix + ":ia:" }

// InboxMark is the key by which a shard shows that it still has what was kept
// there.
func (k Keys) InboxMark() string { return k.prefix + ":ih" }

// Room is the key of a room's record.
func (k Keys) Room(room string) string { return k.prefix + ":r:" + room }

// RoomsOf is the key of the set of rooms that p owns, on the shard of each.
func (k Keys) RoomsOf(p ProcessID) string { return k.prefix + ":ro:" + string(p) }

// Rooms is the key of the sorted set of a shard's rooms.
func (k Keys) Rooms() string { return k.prefix + ":rooms" }

// RoomOwners is the key of the set of processes that own some of a shard's rooms.
func (k Keys) RoomOwners() string { return k.prefix + ":roomowners" }

// RoomOffers is the key of the sorted set of processes that take rooms.
func (k Keys) RoomOffers() string { return k.prefix + ":roomoffers" }

// RoomCheckpoint is the key of a room's last checkpoint.
func (k Keys) RoomCheckpoint(room string) string { return k.prefix + ":rc:" + room }

// Hook returns the names of what waits for one endpoint of game backends. Its
// name begins with a letter; empty: the endpoint that has none.
func (k Keys) Hook(endpoint string) HookKeys {
	h := HookKeys{prefix: k.prefix}
	if endpoint != "" {
		h.endpoint = ":" + endpoint
	}
	return h
}

// HookEndpoints is the key of the endpoints that events are sent to.
func (k Keys) HookEndpoints() string { return k.prefix + ":he" }

// HookKeys builds the names of one endpoint.
type HookKeys struct{ prefix, endpoint string }

// Stream is the key of the events of partition n.
func (h HookKeys) Stream(n int) string { return h.numbered("hs", n) }

// Book is the key of the accounts of partition n.
func (h HookKeys) Book(n int) string { return h.numbered("hb", n) }

// Lease is the key that says who sends the events of partition n.
func (h HookKeys) Lease(n int) string { return h.numbered("hl", n) }

// Written is the key that says how far a publisher has written to partition n.
func (h HookKeys) Written(n int, publisher ProcessID) string {
	return h.numbered("hw", n) + ":" + string(publisher)
}

// Senders is the key of those that send events.
func (h HookKeys) Senders() string { return h.prefix + ":hm" + h.endpoint }

// State is the key of how the endpoint has answered.
func (h HookKeys) State() string { return h.prefix + ":hn" + h.endpoint }

func (h HookKeys) numbered(what string, n int) string {
	return h.prefix + ":" + what + h.endpoint + ":" + strconv.Itoa(n)
}

// Unreached is the key of a shard's notifications whose users are looked for
// later.
func (k Keys) Unreached() string { return k.prefix + ":nu" }

// UnreachedTurn is the key that says who looks for them now.
func (k Keys) UnreachedTurn() string { return k.prefix + ":nut" }

// Match is the key of a part of a queue's tickets and matches; hub/match names
// the parts.
func (k Keys) Match(queue, part string) string { return k.prefix + ":m:" + queue + ":" + part }

// Fleet is the key of a part of what is known of nodes; hub/fleet/roster names the
// parts. With an empty part it begins all of them.
func (k Keys) Fleet(part string) string { return k.prefix + ":fleet:" + part }

// FleetTerm is the key of the term of the fleet's leader, a number: who gives orders
// under another one is refused.
func (k Keys) FleetTerm() string { return k.Fleet("term") }

// Channel is the Pub/Sub channel that only process p subscribes to.
func (k Keys) Channel(p ProcessID) string { return k.prefix + ":c:" + string(p) }

// Layout is the key under which a deployment says how it uses Redis.
func (k Keys) Layout() string { return k.prefix + ":layout" }

// LayoutBefore is the key under which it says how it did before.
func (k Keys) LayoutBefore() string { return k.prefix + ":layout:before" }

// Rights is a key that is never there, and a channel that nobody subscribes to.
func (k Keys) Rights() string { return k.prefix + ":rights" }

// Prefix is the prefix of all names.
func (k Keys) Prefix() string { return k.prefix }

// globEscape makes s match itself in a Redis glob pattern.
func globEscape(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		switch s[i] {
		case '*', '?', '[', ']', '\\', '^', '-':
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(out)
}
