package front

import (
	"hash/maphash"
	"time"

	"github.com/homing/homing/front/loop"
)

const (
	// heardTime is at least how long a delivery is remembered. An API server
	// looks for 30 s for users whom a worker missed, and the relay tries for as
	// long to bring them the message.
	heardTime = 90 * time.Second
	// heardLimit is how many deliveries are remembered at most: about 30 MB.
	heardLimit = 1 << 20
	// heardParts is how many parts the memory has. Each is forgotten as a whole.
	heardParts = 4
)

// heard remembers exactly who was told what: for a notification and a user, how
// far users.joined had come at that moment. Connections of the user that had
// joined by then have heard it, those that joined later have not. Only what may
// come again is remembered: what went to several processes of a user, what was
// handed over, and broadcasts.
//
// A key is a 64-bit hash under a seed of this worker. It takes a third of the
// memory of the ids themselves, and nobody can choose ids that collide. With a
// million keys, one look-up in 10^13 meets a key that is not its own.
//
// Owned by the loop.
//
//bound:heard
type heard struct {
	hash  idHash
	limit int // of deliveries in one part
	parts [heardParts]heardPart
	began loop.Tick // when the first part was begun
}

// heardPart is what was delivered in one stretch of time; the first part is
// the present one.
type heardPart struct {
	joined map[uint64]uint64 // nil: nothing was
	ended  loop.Tick
}

func newHeard() *heard {
	return &heard{hash: newIDHash(), limit: heardLimit / heardParts}
}

// idHash hashes notifications' ids under a seed of this worker.
type idHash struct{ seed maphash.Seed }

func newIDHash() idHash { return idHash{maphash.MakeSeed()} }

// of hashes a notification's id and a user. No user stands for everybody.
func (h idHash) of(id, user []byte) uint64 {
	var sum maphash.Hash
	sum.SetSeed(h.seed)
	_, _ = sum.Write(id)   // never fails
	_ = sum.WriteByte(' ') // is in no id
	_, _ = sum.Write(user) // never fails
	return sum.Sum64()
}

// tell notes that a notification was told to those of user's connections that
// have joined by now. It returns how many deliveries it forgot too early.
func (h *heard) tell(id, user []byte, joined uint64, now loop.Tick) (evicted int) {
	if len(h.parts[0].joined) >= h.limit {
		evicted = h.rotate(now)
	}
	if h.parts[0].joined == nil {
		h.parts[0].joined = make(map[uint64]uint64)
	}
	h.parts[0].joined[h.hash.of(id, user)] = joined
	return evicted
}

// told returns how far users.joined had come when user was told a notification
// last, and whether that is known.
func (h *heard) told(id, user []byte) (joined uint64, known bool) {
	key := h.hash.of(id, user)
	for i := range h.parts {
		if joined, known = h.parts[i].joined[key]; known {
			return joined, true
		}
	}
	return 0, false
}

// age forgets what is older than heardTime. It returns how many deliveries were
// younger, because the parts filled up early.
func (h *heard) age(now loop.Tick) (evicted int) {
	const stretch = loop.Tick(heardTime/loop.TickLength) / (heardParts - 1)
	if now-h.began >= stretch {
		return h.rotate(now)
	}
	return 0
}

// rotate forgets the oldest part and begins a new one. It returns how many
// deliveries were forgotten too early.
func (h *heard) rotate(now loop.Tick) (evicted int) {
	oldest := &h.parts[heardParts-1]
	if now-oldest.ended < loop.Tick(heardTime/loop.TickLength) {
		evicted = len(oldest.joined)
	}
	h.parts[0].ended = now
	copy(h.parts[1:], h.parts[:heardParts-1])
	h.parts[0] = heardPart{}
	h.began = now
	return evicted
}

// size is how many deliveries are remembered.
func (h *heard) size() (n int) {
	for i := range h.parts {
		n += len(h.parts[i].joined)
	}
	return n
}
