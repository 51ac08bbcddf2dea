package abuse

import (
	"context"
	"slices"
)

// Kind is one way to do harm.
type Kind struct {
	Name string
	Who  string // Player, Key or Address
	Does string // in words

	prepare func(context.Context, *attack) error // nil: nothing
	run     func(context.Context, *attack)       // until its context ends
}

// Who attacks: what it has in hand.
const (
	Player  = "player"  // a valid token of one user
	Key     = "key"     // a valid API key
	Address = "address" // nothing but an address
)

// Kinds lists all there are.
func Kinds() []Kind {
	return []Kind{
		{Name: "acks", Who: Player, Does: "acknowledges 256 ids that its full inbox does not hold, 100 times a second", prepare: fillInbox, run: acks},
		{Name: "bytes", Who: Player, Does: "sends messages of 64 KiB that are refused, 95 a second", run: bigMessages},
		{Name: "pings", Who: Player, Does: "sends 100 pings a second", run: pings},
		{Name: "replays", Who: Player, Does: "asks for its full inbox on one connection after another and reads none", prepare: fillInbox, run: replays},
		{Name: "connections", Who: Player, Does: "opens 200 connections a second and keeps 2,000", run: connections},
		{Name: "churn", Who: Player, Does: "connects and leaves 200 times a second", run: churn},
		{Name: "store", Who: Key, Does: "stores 2,000 bytes for each of 10,000 absent users a second", run: store},
		{Name: "replies", Who: Key, Does: "has large replies remembered: 10,000 users, per_user, an id, 20 a second", run: replies},
		{Name: "batches", Who: Key, Does: "holds 1,024 batches open and says nothing", run: batches},
		{Name: "large", Who: Key, Does: "notifies 10,000 users of 32 KiB, 20 times a second", run: large},
		{Name: "presence", Who: Key, Does: "asks for 10,000 users, 50 times a second", run: presence},
		{Name: "anonymous", Who: Address, Does: "asks for a connection without a token, 1,600 times a second", run: anonymous},
		{Name: "silent", Who: Address, Does: "opens 250 connections a second and says nothing", run: silent},
		{Name: "trickle", Who: Address, Does: "holds 1,000 connections and sends a byte of a request a second on each", run: trickle},
		{Name: "hellos", Who: Address, Does: "begins 500 TLS handshakes a second and ends none", run: hellos},
		{Name: "keyless", Who: Address, Does: "posts 1 MiB to the API without a key, 200 times a second", run: keyless},
	}
}

// Names lists the kinds' names.
func Names() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	return names
}

// Find returns the kind of that name.
func Find(name string) (Kind, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return all[i], true
}
