package redisx

import "github.com/cespare/xxhash/v2"

// Role is the shards that serve one purpose: data, pub/sub or inbox.
type Role struct{ shards []*Shard }

// Shards returns all shards in the order of the configuration. The caller must
// not change the slice.
func (ro *Role) Shards() []*Shard { return ro.shards }

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
