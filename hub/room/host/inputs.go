package host

import (
	"sync"

	"github.com/homing/homing/hub/room/asks"
)

const (
	// maxSaidBytes bounds the messages of members that wait for a room, and
	// saidCost is what one counts beside its bytes.
	maxSaidBytes = 1 << 20
	saidCost     = 128
	// maxControls is how much else waits: joins and what processes ask.
	maxControls = 4096
)

// inputKind is what somebody wants of a room.
type inputKind uint8

const (
	inputSay inputKind = iota
	inputJoin
	inputGone
	inputLeave
	inputCommand
)

type input struct {
	kind inputKind
	seat *Seat
	data []byte
	do   func()
}

// inputs are what waits for a room. What members say waits for the next tick,
// everything else wakes it.
//
//bound:room-inputs
type inputs struct {
	wake chan struct{}

	mu        sync.Mutex
	waiting   []input
	saidBytes int
	controls  int
	closed    bool      // nothing more is taken
	abandoned bool      // the logic has not returned: whatever it says now, nobody hears
	follower  *follower // takes what comes too late; nil: the room has not moved
}

// say queues a message, or returns the code of its refusal.
func (q *inputs) say(s *Seat, data []byte) (code string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := len(data) + saidCost
	switch {
	case q.closed:
		return q.sayLateLocked(s, data)
	case q.saidBytes+cost > maxSaidBytes:
		return CodeTooMuch
	}
	q.saidBytes += cost
	q.waiting = append(q.waiting, input{kind: inputSay, seat: s, data: data})
	return ""
}

// sayLateLocked has a message follow a room that has moved: its member has not read
// yet that it has.
func (q *inputs) sayLateLocked(s *Seat, data []byte) (code string) {
	switch {
	case q.follower == nil:
		return CodeEnded
	case !q.follower.add(asks.Said{User: s.user, Data: data}):
		return CodeMoved
	}
	return ""
}

// control queues anything else. It reports false when the room has ended, or, for
// what is not the end of something, when too much waits.
func (q *inputs) control(in input) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.controls >= maxControls && (in.kind == inputJoin || in.kind == inputCommand) {
		return false
	}
	q.controls++
	q.waiting = append(q.waiting, in)
	q.poke()
	return true
}

// poke has the room's goroutine look at them.
func (q *inputs) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns what waits, and leaves spare to be filled next.
func (q *inputs) take(spare []input) []input {
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.waiting
	q.waiting, q.saidBytes, q.controls = spare, 0, 0
	return full
}

// putBack has some wait once more, before those that came since.
func (q *inputs) putBack(some []input) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(append([]input(nil), some...), q.waiting...)
	for i := range some {
		if some[i].kind == inputSay {
			q.saidBytes += len(some[i].data) + saidCost
		} else {
			q.controls++
		}
	}
}

// close has nothing more be taken, and returns what has waited. follow says what of
// it goes after a room that has moved, and may be nil: what comes later goes there
// from the same moment on, else somebody would be told in between that the room has
// ended.
func (q *inputs) close(follow func(left []input) *follower) (left []input) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left, q.waiting = q.waiting, nil
	if !q.abandoned && follow != nil {
		q.follower = follow(left)
	}
	return left
}

// abandon closes them for a room whose logic has not returned, and reports false when
// they are closed already.
func (q *inputs) abandon() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.abandoned, q.closed = true, true
	return true
}

func (q *inputs) isAbandoned() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.abandoned
}

// unlessClosed calls f, unless they are closed, which they are not meanwhile.
func (q *inputs) unlessClosed(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		f()
	}
}

// seats are the connections on the seats of a room.
type seats struct {
	mu  sync.Mutex
	all []*Seat // by number, nil where nobody is connected; only the room's goroutine changes it
}

// put puts a connection on a seat; nil: takes it off.
func (s *seats) put(number int, c *Seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[number] = c
}

// connected lists the connections, for other goroutines.
func (s *seats) connected() (some []*Seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		if c != nil {
			some = append(some, c)
		}
	}
	return some
}
