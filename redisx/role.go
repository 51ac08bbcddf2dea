package redisx

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Role is the shards that serve one purpose: data, pub/sub or inbox.
type Role struct {
	shards   []*Shard
	previous *Role    // nil when none is configured
	all      []*Shard // nil: shards
}

// succeed makes previous, which may be nil, the role before a change.
func (ro *Role) succeed(previous *Role) {
	if previous == nil {
		return
	}
	ro.previous, ro.all = previous, slices.Clone(ro.shards)
	for _, s := range previous.shards {
		if !slices.Contains(ro.all, s) {
			ro.all = append(ro.all, s)
		}
	}
}

// Shards returns all shards in the order of the configuration. The caller must
// not change the slice.
func (ro *Role) Shards() []*Shard { return ro.shards }

// Previous returns the role as it was before shards were added or removed, nil
// when no previous list is configured. Shards of both lists are the same Shard.
func (ro *Role) Previous() *Role { return ro.previous }

// All returns Shards and those of the previous list, each once. The caller
// must not change the slice.
func (ro *Role) All() []*Shard {
	if ro.all == nil {
		return ro.shards
	}
	return ro.all
}

// ShardBefore returns the shard that key belonged to under the previous list;
// nil when none is configured or the key has not moved.
func (ro *Role) ShardBefore(key string) *Shard {
	if ro.previous == nil {
		return nil
	}
	if s := ro.previous.Shard(key); s != ro.Shard(key) {
		return s
	}
	return nil
}

// Lead returns the shard that holds what a deployment has only once, such as
// leases: the first by name, so that the order of a process's list does not
// matter. While a previous list is configured it is that list's first, which
// every process knows.
func (ro *Role) Lead() *Shard {
	if ro.previous != nil {
		return ro.previous.Lead()
	}
	return slices.MinFunc(ro.shards, func(a, b *Shard) int { return strings.Compare(a.Name(), b.Name()) })
}

// Shard returns the shard that key belongs to. It depends on the key and on
// the shards' names alone, in whatever order they are configured, and a shard
// added or removed moves only the keys that it takes or leaves (rendezvous
// hashing).
func (ro *Role) Shard(key string) *Shard {
	best := ro.shards[0]
	if len(ro.shards) == 1 {
		return best
	}
	h := hash(key)
	var most uint64
	for _, s := range ro.shards {
		if w := mix(h ^ s.seed); w >= most {
			best, most = s, w
		}
	}
	return best
}

func hash(s string) uint64 { return xxhash.Sum64String(s) }

// mix is the finalizer of SplitMix64: every bit of x moves half of the result.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
