package unreached

import "time"

// Fast makes an Unreached quick for tests: it waits for after, and its turn stands
// for turn.
func (u *Unreached) Fast(after, turn time.Duration) {
	u.after = after
	u.timing = timing{look: 20 * time.Millisecond, turn: turn}
}

// Most is how many a shard may hold, and MaxData how much data an event has.
const (
	Most    = most
	MaxData = maxData

	SoonMost = soonMost // notes that may wait in memory
)

// The scripts.
var (
	NoteScript = noteScript
	DueScript  = dueScript
)
