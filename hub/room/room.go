package room

import (
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/homing/homing/hub"
)

// Outlet takes what leaves a room. Its methods must not block nor call the room.
type Outlet interface {
	// Frame is for the connection that sits on a seat. Several seats may get the
	// same bytes: nobody may change them.
	Frame(seat int, frame []byte)
	// Left ends what binds the connection on a seat to the room. reason is for
	// people, and may be empty.
	Left(seat int, m Member, why LeaveReason, reason string)
	// Ended is the last call.
	Ended(why EndReason, result []byte)
}

// EndReason says why a room has ended.
type EndReason string

// The reasons.
const (
	EndFinished EndReason = "finished" // by its logic or the backend
	EndIdle     EndReason = "idle"     // nobody was there for too long
	EndFailed   EndReason = "failed"   // its logic has panicked
	EndMoved    EndReason = "moved"    // it goes on in another process
	EndClosed   EndReason = "closed"   // by the backend, without a result
	EndStuck    EndReason = "stuck"    // its logic did not return
	EndLost     EndReason = "lost"     // its process has ended
)

// Room is one game room. Its methods must not be called at the same time. Times
// are those of one monotonic clock of the owner's.
type Room struct {
	id     string
	class  *Class
	out    Outlet
	logic  Logic
	source *rand.PCG
	rand   *rand.Rand

	seats    seats
	states   states
	events   events
	frames   frames
	timers   timers
	bytes    budget // of all members
	metadata []byte
	locked   bool
	lack     *Lack // nil: it lacks nobody

	tick    int64
	skipped int64         // ticks left out before the present one
	next    time.Duration // when the next tick is due
	empty   time.Duration // since when nobody has a seat
	vacated bool          // a seat was given up since the last tick

	stats  Stats
	record *Recorder // nil: nothing is recorded

	depth     int // of calls of the logic within each other
	finishing bool
	result    []byte
	ended     EndReason // empty while it lives
}

// Stats counts what happened in a room.
type Stats struct {
	Ticks    int64 // that were run
	Skipped  int64 // that were left out because the room was late
	Messages int64 // of members that were taken
	Refused  int64 // of members that were not
	Dropped  int64 // events of the logic that were too many for one tick
	Frames   int64 // that were sent
	Encoded  int64 // different ones among those
}

// New opens a room, whose clock shows now. seed decides its random numbers.
func New(id string, class *Class, seed uint64, out Outlet, now time.Duration) *Room {
	r := prepare(id, class, out, now)
	r.source = rand.NewPCG(seed, 0)
	r.rand = rand.New(r.source)
	r.run(func() { r.logic.Start(r.table()) })
	return r
}

func prepare(id string, class *Class, out Outlet, now time.Duration) *Room {
	r := &Room{
		id: id, class: class, out: out, logic: Plain{},
		seats: newSeats(class.Seats), states: newStates(class), events: newEvents(class),
		next: now + class.period(), empty: now,
	}
	r.frames = frames{binary: class.Binary, seats: &r.seats, states: &r.states, events: &r.events}
	if class.New != nil {
		r.logic = class.New()
	}
	return r
}

func (r *Room) table() *Table { return &Table{r} }

// ID is the room's.
func (r *Room) ID() string { return r.id }

// Ended is why the room has ended; empty while it lives.
func (r *Room) Ended() EndReason { return r.ended }

// Stats returns what has happened so far.
func (r *Room) Stats() Stats {
	s := r.stats
	s.Frames, s.Encoded = r.frames.sent, r.frames.encoded
	return s
}

// Metadata is what those who list rooms see: JSON, nil when none was set.
func (r *Room) Metadata() []byte { return r.metadata }

// Members lists who sits, by seat.
func (r *Room) Members() []Member { return r.seats.members() }

// Seats lists the seats that are not free, by number.
func (r *Room) Seats() []SeatInfo { return r.seats.infos() }

// Locked reports whether the room takes no more members.
func (r *Room) Locked() bool { return r.locked }

// TickNumber is the number of the last tick; 0: none was.
func (r *Room) TickNumber() int64 { return r.tick }

// Lacking is what the logic says that the room lacks; nil: nothing, also once the
// room takes nobody.
func (r *Room) Lacking() *Lack {
	if r.Free() == 0 {
		return nil
	}
	return r.lack
}

// Taken is how many seats are reserved or taken.
func (r *Room) Taken() int { return r.seats.taken }

// Free is how many seats are neither reserved nor taken; 0 when the room takes
// nobody.
func (r *Room) Free() int {
	if r.locked || r.ended != "" {
		return 0
	}
	return len(r.seats.all) - r.seats.taken
}

// Due is when the next tick is.
func (r *Room) Due() time.Duration { return r.next }

// Reserve holds a seat for user, for as long as the class says. One that the user
// has already is kept. The errors are ErrClosed, ErrLocked and ErrFull.
func (r *Room) Reserve(user hub.UserID, now time.Duration) (seat int, err error) {
	r.note(Input{Op: opReserve, At: now, User: user})
	switch {
	case r.ended != "":
		return -1, ErrClosed
	case r.locked && r.seats.find(user) < 0:
		return -1, ErrLocked
	}
	return r.seats.reserve(user, now+r.class.Reserve)
}

// Join has a connection of user take its seat. What an older connection of the
// user says counts no more. after is the number of the last event that the user
// has read, 0 for none: the next frame has the later ones and every state. The
// generation returned is this connection's. The errors are ErrClosed and
// ErrNoSeat, also when the logic does not let the user stay.
func (r *Room) Join(user hub.UserID, after uint64) (seat int, generation uint64, err error) {
	r.note(Input{Op: opJoin, User: user, After: after})
	if r.ended != "" {
		return -1, 0, ErrClosed
	}
	seat, back, err := r.seats.join(user)
	if err != nil {
		return -1, 0, err
	}
	x := &r.seats.all[seat]
	if !back {
		x.first = r.events.next
	}
	generation = x.generation
	r.greet(seat, after)
	r.run(func() { r.logic.Join(r.table(), Member{user, seat}, back) })
	if r.ended != "" {
		return -1, 0, ErrClosed
	}
	if _, err := r.seats.at(seat, generation); err != nil {
		return -1, 0, err
	}
	return seat, generation, nil
}

// greet has the next frame of a seat tell all that it has missed. A place that this
// room has not reached is none: the client is of a room that went on elsewhere, or
// lies.
func (r *Room) greet(seat int, after uint64) {
	a := arrival{seat: seat, after: after, lost: after >= r.events.next}
	if first := r.seats.all[seat].first; a.lost || after < first-1 {
		a.after = first - 1
	}
	r.frames.forget(seat)
	r.frames.arrivals = append(r.frames.arrivals, a)
}

// Gone says that the connection of a generation has ended: its user may come back
// within the grace. It does nothing for an older connection.
func (r *Room) Gone(seat int, generation uint64, now time.Duration) {
	r.note(Input{Op: opGone, At: now, Seat: seat, Generation: generation})
	x, err := r.seats.at(seat, generation)
	if err != nil {
		return
	}
	x.stage, x.until = seatAway, now+r.class.Grace
	r.frames.forget(seat)
	m := Member{x.user, seat}
	r.run(func() { r.logic.Away(r.table(), m) })
}

// Leave gives the seat of a connection up. It does nothing for an older one.
func (r *Room) Leave(seat int, generation uint64) {
	r.note(Input{Op: opLeave, Seat: seat, Generation: generation})
	if _, err := r.seats.at(seat, generation); err == nil {
		r.free(seat, LeftByItself, "")
	}
}

// Unreserve gives a seat up that nobody has joined yet.
func (r *Room) Unreserve(seat int) {
	r.note(Input{Op: opUnreserve, Seat: seat})
	if seat >= 0 && seat < len(r.seats.all) && r.seats.all[seat].stage == seatReserved {
		r.seats.free(seat)
	}
}

// Tick runs the tick that is due at now, if one is: seats whose time is over are
// given up, timers and logic run, and every member gets its frame. Of several that
// are due it runs the last: a room that was late does not run behind.
func (r *Room) Tick(now time.Duration) {
	if r.ended != "" || now < r.next {
		return
	}
	r.note(Input{Op: opTick, At: now})
	due := int64((now-r.next)/r.class.period()) + 1
	r.skipped = due - 1
	r.tick += due
	r.next += time.Duration(due) * r.class.period()
	r.stats.Ticks++
	r.stats.Skipped += r.skipped
	r.giveUpSeats(now)
	r.runTimers()
	r.run(func() { r.logic.Tick(r.table()) })
	if r.ended == "" {
		r.frames.flush(r.tick, r.out)
		r.checkIdle(now)
	}
}

// giveUpSeats frees the seats whose time is over. The logic hears of each, and may
// free others meanwhile.
func (r *Room) giveUpSeats(now time.Duration) {
	for _, seat := range r.seats.due(now) {
		switch x := &r.seats.all[seat]; {
		case !x.due(now):
		case x.stage == seatReserved:
			r.free(seat, LeftUnjoined, "")
		default:
			r.free(seat, LeftForGood, "")
		}
	}
}

// runTimers calls the timers that are due, in the order of their times. One that is
// set meanwhile waits for the next tick.
func (r *Room) runTimers() {
	for last := r.timers.serial; r.ended == ""; {
		name, ok := r.timers.take(r.tick, last)
		if !ok {
			return
		}
		r.run(func() { r.logic.Timer(r.table(), name) })
	}
}

func (r *Room) checkIdle(now time.Duration) {
	if r.seats.taken > 0 || r.vacated {
		r.empty, r.vacated = now, false
	} else if now-r.empty >= r.class.Idle {
		r.end(EndIdle, nil)
	}
}

// free gives a seat up and tells the connection and the logic.
func (r *Room) free(seat int, why LeaveReason, reason string) {
	x := &r.seats.all[seat]
	m, seated := Member{x.user, seat}, x.stage != seatReserved
	r.out.Left(seat, m, why, reason)
	r.seats.free(seat)
	r.vacated = true
	r.frames.forget(seat)
	if seated {
		r.run(func() { r.logic.Leave(r.table(), m, why) })
	}
}

// SetMetadata is Table.SetMetadata, for the backend. The errors are ErrTooLarge and
// ErrNotJSON.
func (r *Room) SetMetadata(data []byte) error {
	r.note(Input{Op: opMetadata, Data: data})
	switch {
	case len(data) > MaxMetadata:
		return ErrTooLarge
	case !jsontext.Value(data).IsValid():
		return ErrNotJSON
	}
	r.metadata = data
	return nil
}

// note records a call, unless it is the logic's.
func (r *Room) note(in Input) {
	if r.record != nil && r.depth == 0 {
		r.record.write(in)
	}
}
