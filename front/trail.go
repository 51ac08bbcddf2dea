package front

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// trail is what a client has been given lately of what inboxes and topics keep. Each
// of these messages goes with the trail up to there, its offset, which the client
// names when it comes back. So whoever replays to it then, this worker or another
// one, knows what it has read: a message that was on its way when the connection
// broke is in the offset that the client has read, or it is not.
//
// It holds what a replay may hold again, which begins hub.ReplayOverlap before the
// last message that the client has read.
//
//bound:trail
type trail struct {
	place string // id of the last message of the inbox; empty: none
	marks []mark // oldest first
}

// mark stands for a message.
type mark struct {
	hash  [markLen]byte
	at    int64     // when it was stored, in Unix milliseconds by the clock of its Redis; 0: not known
	given loop.Tick // when it was noted here
}

const (
	// markLen is the length of a hash, which every process makes alike. With 256 marks
	// and 200 messages, one in 10^9 replays leaves one out that was not read.
	markLen = 6
	// maxMarks is how many messages a trail holds. Of more, the oldest may come again.
	maxMarks = 256
	// markTime is how long a mark is kept: a message may be on its way for as long as
	// the overlap, and the replay after it reaches as far back again.
	markTime = (2*40 + 10) * loop.TicksPerSecond
)

func markOf(id []byte) (hash [markLen]byte) {
	sum := sha256.Sum256(id)
	copy(hash[:], sum[:])
	return hash
}

// newTrail reads the offset that a client names. What is no offset is an empty trail,
// whose place no inbox knows.
func newTrail(offset string, now loop.Tick) *trail {
	place, text, _ := strings.Cut(offset, " ")
	t := &trail{place: place}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		raw = nil
	}
	for hash := range slices.Chunk(raw, markLen) {
		if len(hash) == markLen && len(t.marks) < maxMarks {
			t.marks = append(t.marks, mark{hash: [markLen]byte(hash), given: now})
		}
	}
	if place != "" {
		t.add(mark{hash: markOf([]byte(place)), given: now})
	}
	return t
}

// maxOffset is the length of the longest offset.
const maxOffset = hub.MaxID + 1 + maxMarks*markLen*4/3

// has reports whether the client has been given the message with an id, which is only
// lent, as far as that is known. t may be nil.
func (t *trail) has(id []byte) bool {
	if t == nil || len(t.marks) == 0 {
		return false
	}
	hash := markOf(id)
	return slices.ContainsFunc(t.marks, func(m mark) bool { return m.hash == hash })
}

// note adds a message that the client is given next. stored says that its inbox keeps
// it. at is when it was stored; 0: that is not known.
func (t *trail) note(id []byte, stored bool, at int64, now loop.Tick) {
	reach := 2 * hub.ReplayOverlap.Milliseconds() // clocks may differ
	t.marks = slices.DeleteFunc(t.marks, func(m mark) bool {
		return now-m.given > markTime || at > 0 && m.at > 0 && m.at < at-reach
	})
	if stored {
		t.place = string(id)
	}
	if !t.has(id) {
		t.add(mark{hash: markOf(id), at: at, given: now})
	}
}

func (t *trail) add(m mark) {
	if len(t.marks) >= maxMarks {
		t.marks = slices.Delete(t.marks, 0, 1)
	}
	t.marks = append(t.marks, m)
}

// offset is what the client is to name when it comes back. t may be nil.
func (t *trail) offset() []byte {
	if t == nil {
		return nil
	}
	b := make([]byte, 0, len(t.place)+1+len(t.marks)*markLen*4/3)
	b = append(b, t.place...)
	own, begun := markOf([]byte(t.place)), false
	var raw [markLen]byte
	for i := range t.marks {
		if raw = t.marks[i].hash; raw == own {
			continue
		}
		if !begun {
			b, begun = append(b, ' '), true
		}
		b = base64.RawURLEncoding.AppendEncode(b, raw[:]) // of 6 bytes: nothing is padded
	}
	return b
}

// forget lets go of what no replay holds again. t may be nil.
func (t *trail) forget(now loop.Tick) {
	if t == nil || len(t.marks) == 0 {
		return
	}
	t.marks = slices.DeleteFunc(t.marks, func(m mark) bool { return now-m.given > markTime })
	if len(t.marks) == 0 {
		t.marks = nil
	}
}

// trail is what the session's client has been given; nil: the protocol has none, or
// nothing was given.
func (s *session) trail() *trail {
	if t := s.talk(); t != nil {
		return t.trail
	}
	return nil
}
