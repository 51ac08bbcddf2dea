package hub

import "strconv"

// Keys builds every Redis key and channel name that Homing uses, so that
// deployments and tests can share a Redis without meeting. All names start
// with the prefix and a colon.
//
//	<p>:u:<user>      string  where a user is connected (hub/index)
//	<p>:w:<process>   string  a process's lease and description, with a TTL
//	<p>:x:<process>   string  a tombstone: the process is dead, with a TTL (hub/lease)
//	<p>:procs         zset    every process that may still own index entries
//	<p>:turn:<job>    string  who does a periodic job this time (hub/index)
//	<p>:once:<scope>:<id>     an idempotency key and the reply it got
//	<p>:oa:<scope>    hash    the bytes that those take, by when they lapse
//	<p>:i:<user>      stream  the notifications kept for a user (hub/inbox)
//	<p>:in:<user>     zset    ids of those, and of some that are gone, by position
//	<p>:ib:<user>     hash    the bytes they take, and what is gone
//	<p>:ia:<account>  hash    the bytes that a caller has stored, by when they lapse
//	<p>:ih            string  since when a shard's inboxes are whole (hub/inbox)
//	<p>:r:<room>      hash    a room: its owner and epoch (hub/room/directory)
//	<p>:ro:<process>  set     the rooms that a process owns, by the rooms' shards
//	<p>:rooms         zset    all rooms of a shard, by when they were made
//	<p>:roomowners    set     the processes that own rooms of a shard
//	<p>:roomoffers    zset    the processes that take rooms, by the seats that they have
//	<p>:rc:<room>     string  the last checkpoint of a room (inbox role)
//	<p>:hs:<n>        stream  events for game backends, of one partition (hub/hook)
//	<p>:hb:<n>        hash    the bytes that they take
//	<p>:hl:<n>        string  who sends them now, with a TTL
//	<p>:hw:<n>:<w>    string  how far a publisher has written there, with a TTL
//	<p>:hm            hash    which processes send events, and until when they count
//	<p>:m:<queue>:<part>      a queue's tickets and matches (hub/match)
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

// User is the key of a user's index entry.
func (k Keys) User(u UserID) string { return k.prefix + ":u:" + string(u) }

// AppendUser appends what User returns to dst, for callers that build many.
func (k Keys) AppendUser(dst []byte, u UserID) []byte {
	dst = append(dst, k.prefix...)
	dst = append(dst, ":u:"...)
	return append(dst, u...)
}

// UserPattern matches every key that User builds, for SCAN.
func (k Keys) UserPattern() string { return globEscape(k.prefix) + ":u:*" }

// UserOf returns the user whose index entry stands under key, the inverse of User.
func (k Keys) UserOf(key string) (UserID, bool) {
	p := k.prefix + ":u:"
	if len(key) <= len(p) || key[:len(p)] != p {
		return "", false
	}
	return UserID(key[len(p):]), true
}

// Lease is the key of a process's lease.
func (k Keys) Lease(p ProcessID) string { return k.prefix + ":w:" + string(p) }

// Tombstone is the key that says that a process was declared dead, or left.
func (k Keys) Tombstone(p ProcessID) string { return k.prefix + ":x:" + string(p) }

// Processes is the key of the sorted set of processes, scored by the Unix
// time in seconds of their last renewal.
func (k Keys) Processes() string { return k.prefix + ":procs" }

// Turn is the key that says who has the turn at a periodic job: whoever sets
// it, with the job's period as its TTL, while it is not there.
func (k Keys) Turn(job string) string { return k.prefix + ":turn:" + job }

// Once is the key of an idempotency record.
func (k Keys) Once(scope, id string) string { return k.prefix + ":once:" + scope + ":" + id }

// OnceAccount is the key of what the idempotency records of a scope take.
func (k Keys) OnceAccount(scope string) string { return k.prefix + ":oa:" + scope }

// Inbox is the key of the stream of notifications that are kept for u.
func (k Keys) Inbox(u UserID) string { return k.prefix + ":i:" + string(u) }

// InboxIDs is the key of the ids of what u's inbox holds or held.
func (k Keys) InboxIDs(u UserID) string { return k.prefix + ":in:" + string(u) }

// InboxBook is the key of the accounts of u's inbox.
func (k Keys) InboxBook(u UserID) string { return k.prefix + ":ib:" + string(u) }

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

// HookStream is the key of the events for game backends of partition n.
func (k Keys) HookStream(n int) string { return k.hook("hs", n) }

// HookBook is the key of the accounts of partition n.
func (k Keys) HookBook(n int) string { return k.hook("hb", n) }

// HookLease is the key that says who sends the events of partition n.
func (k Keys) HookLease(n int) string { return k.hook("hl", n) }

// HookWritten is the key that says how far a publisher has written to
// partition n.
func (k Keys) HookWritten(n int, publisher ProcessID) string {
	return k.hook("hw", n) + ":" + string(publisher)
}

// HookSenders is the key of those that send events.
func (k Keys) HookSenders() string { return k.prefix + ":hm" }

func (k Keys) hook(what string, n int) string { return k.prefix + ":" + what + ":" + strconv.Itoa(n) }

// Match is the key of a part of a queue's tickets and matches; hub/match names
// the parts.
func (k Keys) Match(queue, part string) string { return k.prefix + ":m:" + queue + ":" + part }

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
