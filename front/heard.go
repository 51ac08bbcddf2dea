package front

import (
	"hash/maphash"
	"time"
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
type heard struct {
	seed  maphash.Seed
	limit int // of deliveries in one part
	parts [heardParts]heardPart
	began uint32 // tick at which the first part was begun
}

// heardPart is what was delivered in one stretch of time; the first part is
// the present one.
type heardPart struct {
	joined map[uint64]uint64 // nil: nothing was
	ended  uint32            // tick
}

func newHeard() heard {
	return heard{seed: maphash.MakeSeed(), limit: heardLimit / heardParts}
}

// key hashes a notification's id and a user. No user stands for everybody.
func (h *heard) key(id, user []byte) uint64 {
	var sum maphash.Hash
	sum.SetSeed(h.seed)
	_, _ = sum.Write(id)   // never fails
	_ = sum.WriteByte(' ') // is in no id
	_, _ = sum.Write(user) // never fails
	return sum.Sum64()
}

// tell notes that a notification was told to those of user's connections that
// have joined by now. It returns how many deliveries it forgot too early.
func (h *heard) tell(id, user []byte, joined uint64, now uint32) (evicted int) {
	if len(h.parts[0].joined) >= h.limit {
		evicted = h.rotate(now)
	}
	if h.parts[0].joined == nil {
		h.parts[0].joined = make(map[uint64]uint64)
	}
	h.parts[0].joined[h.key(id, user)] = joined
	return evicted
}

// told returns how far users.joined had come when user was told a notification
// last, and whether that is known.
func (h *heard) told(id, user []byte) (joined uint64, known bool) {
	key := h.key(id, user)
	for i := range h.parts {
		if joined, known = h.parts[i].joined[key]; known {
			return joined, true
		}
	}
	return 0, false
}

// age forgets what is older than heardTime. It returns how many deliveries were
// younger, because the parts filled up early.
func (h *heard) age(now uint32) (evicted int) {
	const stretch = uint32(heardTime/tickLength) / (heardParts - 1)
	if now-h.began >= stretch {
		return h.rotate(now)
	}
	return 0
}

// rotate forgets the oldest part and begins a new one. It returns how many
// deliveries were forgotten too early.
func (h *heard) rotate(now uint32) (evicted int) {
	oldest := &h.parts[heardParts-1]
	if now-oldest.ended < uint32(heardTime/tickLength) {
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

// toldBefore returns how far users.joined had come when user was told x; 0: it
// was not, as far as is known. Only what is handed over can have been told.
func (w *Worker) toldBefore(x *delivery, user []byte) uint64 {
	if x.what.Age == 0 || len(x.what.ID) == 0 {
		return 0
	}
	joined, _ := w.heard.told(x.what.ID, user)
	return joined
}

// noteTold has the worker remember that those of user's connections that had
// joined by then were told x. Without an id there is nothing to know it by.
func (w *Worker) noteTold(x *delivery, user []byte, joined uint64) {
	if len(x.what.ID) == 0 {
		return
	}
	if n := w.heard.tell(x.what.ID, user, joined, w.now); n > 0 {
		w.m.heardEvicted.Add(float64(n))
	}
}

// audience says which connections a broadcast is for.
type audience struct {
	above, upTo uint64 // of their places in the order of joining
	opened      uint32 // tick at which they opened, or a later one
}

// ageSlack is how long a message may be on its way without its age telling.
const ageSlack = time.Second

// audienceOf returns which connections broadcast x is for: those there are, and
// when it is handed over only those that have not heard it. A worker that was
// never sent it takes those that have opened since then.
func (w *Worker) audienceOf(x *delivery) audience {
	a := audience{upTo: w.users.joined}
	if x.what.Age == 0 {
		return a
	}
	joined, known := w.heard.told(x.what.ID, nil)
	if known {
		a.above = joined
	} else if ago := ticks(x.what.Age + ageSlack); ago < w.now {
		a.opened = w.now - ago
	}
	return a
}

// has reports whether c belongs to the audience.
func (a *audience) has(c *conn) bool {
	return c.joined > a.above && c.joined <= a.upTo && c.opened >= a.opened
}
