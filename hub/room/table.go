package room

import (
	"math/rand/v2"

	"github.com/go-json-experiment/json"

	"github.com/homing/homing/hub"
)

// Table is the room as its logic sees it. It is valid during the logic's calls
// only.
type Table struct{ room *Room }

// Tick is the number of the present tick, from 1; 0 before the first.
func (t *Table) Tick() int64 { return t.room.tick }

// Skipped is how many ticks before the present one were left out, because the
// room was late.
func (t *Table) Skipped() int64 { return t.room.skipped }

// ID is the room's.
func (t *Table) ID() string { return t.room.id }

// Hz is how many ticks there are in a second.
func (t *Table) Hz() int { return t.room.class.Hz }

// Seats is how many there are.
func (t *Table) Seats() int { return t.room.class.Seats }

// Away reports whether a member is not connected now, and may come back.
func (t *Table) Away(m Member) bool {
	return m.Seat >= 0 && m.Seat < len(t.room.seats.all) && t.room.seats.all[m.Seat].stage == seatAway
}

// Lack says that the room wants more players, whom matchmaking finds; nil: it does
// not. It holds until it is said anew. A room that was restored says it again.
func (t *Table) Lack(l *Lack) { t.room.lack = l }

// Members lists who sits, by seat; with those who are away and may come back.
func (t *Table) Members() []Member { return t.room.seats.members() }

// Rand is the room's source of random numbers. Its seed is the room's, so that a
// replay draws the same.
func (t *Table) Rand() *rand.Rand { return t.room.rand }

// Send tells an event to an audience at the end of the tick. from may be empty.
// data is the room's from now on. It reports false, and tells nobody, when a tick
// has more events than a megabyte, or when data is no JSON in a JSON room.
func (t *Table) Send(to Audience, from hub.UserID, data []byte) bool {
	r := t.room
	if r.ended != "" || !r.class.fits(data) {
		return false
	}
	if r.events.unsent()+len(data) > maxTickBytes {
		r.stats.Dropped++
		return false
	}
	r.events.add(to, from, data)
	return true
}

// Set gives a state a value, which its audience reads at the end of the tick, or
// when it comes. Who could read it before and may not now reads that it is gone. It
// reports false when there are too many keys or bytes, when key is no UTF-8, or data
// no JSON in a JSON room: the state is as it was then. data is the room's from now
// on. A value that is as it was is told to nobody.
func (t *Table) Set(to Audience, key string, data []byte) bool {
	return t.room.class.fits(data) && t.room.states.set(to, key, data)
}

// SetJSON is Set with v as JSON; false also when there is none.
func (t *Table) SetJSON(to Audience, key string, v any) bool {
	data, err := json.Marshal(v)
	return err == nil && t.Set(to, key, data)
}

// SendJSON is Send with v as JSON; false also when there is none.
func (t *Table) SendJSON(to Audience, from hub.UserID, v any) bool {
	data, err := json.Marshal(v)
	return err == nil && t.Send(to, from, data)
}

// Delete removes a state. Its audience reads null.
func (t *Table) Delete(key string) { t.room.states.remove(key) }

// After has Timer called with name in so many ticks, of at least 1. A timer of
// that name that stands is replaced. It reports false when there are over a
// thousand, or when name is no UTF-8.
func (t *Table) After(ticks int64, name string) bool {
	return t.room.timers.set(t.room.tick, ticks, name)
}

// Cancel removes the timer of that name, if there is one.
func (t *Table) Cancel(name string) { t.room.timers.cancel(name) }

// Kick ends a member's seat, with a reason of up to 123 bytes that it is told.
func (t *Table) Kick(m Member, reason string) {
	if i := t.room.seats.find(m.User); i == m.Seat && i >= 0 {
		t.room.free(i, LeftKicked, reason[:min(len(reason), maxReason)])
	}
}

// Lock has the room take no more members, or take them again.
func (t *Table) Lock(locked bool) { t.room.locked = locked }

// SetMetadata sets what those who list rooms see: JSON of up to 8 KiB. It reports
// false when it is not.
func (t *Table) SetMetadata(data []byte) bool { return t.room.SetMetadata(data) == nil }

// Finish ends the room after this call with a result, which the backend is told.
func (t *Table) Finish(result []byte) {
	if !t.room.finishing {
		t.room.finishing, t.room.result = true, result
	}
}
