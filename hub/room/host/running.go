package host

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
)

const (
	// maxSaidBytes bounds the messages of members that wait for a room, and
	// saidCost is what one counts beside its bytes.
	maxSaidBytes = 1 << 20
	saidCost     = 128
	// maxControls is how much else waits: joins and what processes ask.
	maxControls = 4096
	// maxStarting is how many rooms begin at once; each may be stuck in its logic.
	maxStarting = 256
	// doubtPause is how long a room waits when the process's standing is in doubt,
	// before it looks again.
	doubtPause = 20 * time.Millisecond
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

// running is one room with the goroutine that runs it. What members say waits for
// the next tick, everything else wakes it.
//
//bound:room-inputs
type running struct {
	h     *Host
	id    string
	class *room.Class
	made  time.Time

	epoch     atomic.Uint64
	busy      atomic.Int64 // since when it works, on the host's clock; 0: it waits
	unwritten atomic.Bool  // what was told last has not been given to the connections
	waits     atomic.Bool  // for that
	shown     atomic.Pointer[shown]
	follower  atomic.Pointer[follower] // takes what comes too late; nil: the room has not moved
	wake      chan struct{}
	gone      chan struct{} // closed when the room has ended here

	mu        sync.Mutex
	inputs    []input
	saidBytes int
	controls  int
	closed    bool    // it takes no more inputs
	abandoned bool    // its logic has not returned: whatever it says now, nobody hears
	seats     []*Seat // by number, nil where nobody is connected; only the goroutine changes it

	// The goroutine's own.
	room     *room.Room
	batch    []Told
	refusing []*Seat // with refusals to be told
	spare    []input
	move     *move // under way; nil: none
	end      ending
	last     room.Stats
	times    durations
	saveAt   time.Duration // when the next checkpoint is due
	record   *recordFile
}

// shown is what others may know of a room.
type shown struct {
	taken    int
	metadata []byte
	lack     *room.Lack // nil: it lacks nobody
}

// ending is how a room ends.
type ending struct {
	why     room.EndReason
	result  []byte
	members []hub.UserID // who were there
	silent  bool         // the room is another process's: nothing is said in its name
}

func (h *Host) prepare(id string, class *room.Class, made time.Time) *running {
	r := &running{
		h: h, id: id, class: class, made: made,
		wake: make(chan struct{}, 1), gone: make(chan struct{}),
		seats: make([]*Seat, class.Seats),
	}
	r.shown.Store(&shown{})
	return r
}

// start has a room run that open makes and claim makes this process's own, and
// waits until it does. What fails leaves nothing behind.
func (h *Host) start(ctx context.Context, r *running, open func() (*room.Room, error), claim func(context.Context) (uint64, error)) error {
	started := make(chan error, 1)
	if h.starting.Add(1) > maxStarting {
		h.starting.Add(-1)
		return &call.RefusalError{Code: asks.CodeTooMany, Detail: "too many rooms begin"}
	}
	go func() { // nobody waits for it when the process stops: its logic may not return
		opened, err := open()
		h.starting.Add(-1)
		if err == nil {
			r.room = opened
			err = h.register(ctx, r, claim)
		}
		started <- err
		if err == nil {
			r.run() //nolint:contextcheck // the room outlives whoever asked for it
		}
	}()
	select {
	case err := <-started:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-started:
		return err
	default:
		return ctx.Err()
	}
}

// register claims r and enters it among the rooms of the host.
func (h *Host) register(ctx context.Context, r *running, claim func(context.Context) (uint64, error)) error {
	if err := ctx.Err(); err != nil {
		return err // whoever waits has given up: nobody would hear of the room
	}
	epoch, err := claim(ctx)
	if err != nil {
		return err
	}
	r.epoch.Store(epoch)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return &call.RefusalError{Code: asks.CodeTooMany, Detail: "the process has stopped"}
	}
	h.rooms[r.id] = r
	h.met.rooms.Set(float64(len(h.rooms)))
	return nil
}

// say queues a message, or returns the code of its refusal.
func (r *running) say(s *Seat, data []byte) (code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cost := len(data) + saidCost
	switch {
	case r.closed:
		return r.sayLate(s, data)
	case r.saidBytes+cost > maxSaidBytes:
		r.h.met.refused.WithLabelValues(CodeTooMuch).Inc()
		return CodeTooMuch
	}
	r.saidBytes += cost
	r.inputs = append(r.inputs, input{kind: inputSay, seat: s, data: data})
	if r.class.Immediate {
		r.poke()
	}
	return ""
}

// sayLate has a message follow a room that has moved: its member has not read yet
// that it has.
func (r *running) sayLate(s *Seat, data []byte) (code string) {
	f := r.follower.Load()
	switch {
	case f == nil:
		return CodeEnded
	case !f.add(asks.Said{User: s.user, Data: data}):
		return CodeMoved
	}
	return ""
}

// control queues anything else. It reports false when the room has ended, or, for
// what is not the end of something, when too much waits.
func (r *running) control(in input) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.controls >= maxControls && (in.kind == inputJoin || in.kind == inputCommand) {
		return false
	}
	r.controls++
	r.inputs = append(r.inputs, in)
	r.poke()
	return true
}

// poke has the goroutine look at its inputs.
func (r *running) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// errNotHere says that a room does not run here, or does no more.
var errNotHere = &call.RefusalError{Code: asks.CodeNotHere}

// do has f called by the room's goroutine, and waits for it.
func (r *running) do(ctx context.Context, f func() error) error {
	_, err := get(ctx, r, func() (nothing, error) { return nothing{}, f() })
	return err
}

// get is do for what has a result. f is not called once ctx has ended.
func get[T any](ctx context.Context, r *running, f func() (T, error)) (result T, err error) {
	type answer struct {
		result T
		err    error
	}
	done := make(chan answer, 1)
	call := func() {
		if ctx.Err() == nil {
			result, err := f()
			done <- answer{result, err}
		}
	}
	if !r.control(input{kind: inputCommand, do: call}) {
		return result, errNotHere
	}
	select {
	case a := <-done:
		return a.result, a.err
	case <-ctx.Done():
		return result, ctx.Err()
	case <-r.gone:
	}
	select {
	case a := <-done: // it was the last thing that happened
		return a.result, a.err
	default:
		return result, errNotHere
	}
}

// run is the goroutine of the room, until it has ended.
func (r *running) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for r.goesOn() {
		select {
		case <-timer.C:
		case <-r.wake:
		}
		r.turn()
		r.busy.Store(0)
		timer.Reset(r.rest())
	}
	r.finish()
}

// goesOn reports whether the room has not ended here.
func (r *running) goesOn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end.why == "" && !r.abandoned
}

// rest is how long the room has nothing to do of its own.
func (r *running) rest() time.Duration {
	left := r.room.Due() - r.h.now()
	if r.move != nil || left <= 0 && r.held() {
		return time.Second // the outcome wakes it, or the connections do
	}
	return max(0, left)
}

// turn does what is to be done now. In doubt of the process's standing that is
// nothing: another process may have the room by now.
func (r *running) turn() {
	if !r.mayAct() {
		return
	}
	r.busy.Store(int64(r.h.now()))
	if r.move != nil {
		r.goOnMoving()
	}
	if r.move == nil && r.end.why == "" {
		r.takeInputs()
	}
	if r.move == nil && r.end.why == "" && !r.unwritten.Load() {
		r.tick()
	}
	r.send()
}

// mayAct reports whether the process is in good standing. One that is lost has no
// rooms any more, and says nothing of that: its players are sent away.
func (r *running) mayAct() bool {
	switch r.h.deps.Standing() {
	case hub.StandingGood:
		return true
	case hub.StandingDoubt:
		time.Sleep(doubtPause)
	case hub.StandingLost:
		r.end = ending{why: room.EndLost, silent: true}
	}
	return false
}

// takeInputs does what has waited.
func (r *running) takeInputs() {
	r.mu.Lock()
	inputs := r.inputs
	r.inputs, r.saidBytes, r.controls = r.spare, 0, 0
	r.mu.Unlock()
	for i := range inputs {
		if r.move != nil || r.end.why != "" { // by the input before
			r.putBack(inputs[i:])
			break
		}
		r.take(&inputs[i])
		inputs[i] = input{}
	}
	clear(inputs)
	r.spare = inputs[:0]
}

// putBack has inputs wait once more, before those that came since.
func (r *running) putBack(inputs []input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inputs = append(append([]input(nil), inputs...), r.inputs...)
	for i := range inputs {
		if inputs[i].kind == inputSay {
			r.saidBytes += len(inputs[i].data) + saidCost
		} else {
			r.controls++
		}
	}
}

func (r *running) take(in *input) {
	switch s := in.seat; in.kind {
	case inputSay:
		if err := r.room.Message(s.number, s.generation, in.data, r.h.now()); err != nil {
			r.refuse(s, codeOf(err))
		}
	case inputJoin:
		r.join(s)
	case inputGone:
		if r.sits(s) {
			r.seat(s.number, nil)
			r.room.Gone(s.number, s.generation, r.h.now())
		}
	case inputLeave:
		if r.sits(s) {
			r.room.Leave(s.number, s.generation)
		}
	case inputCommand:
		in.do()
	}
}

// sits reports whether s is the connection on its seat.
func (r *running) sits(s *Seat) bool { return s.generation != 0 && r.seats[s.number] == s }

// seat puts a connection on a seat; nil: takes it off.
func (r *running) seat(number int, s *Seat) {
	r.mu.Lock()
	r.seats[number] = s
	r.mu.Unlock()
}

func (r *running) join(s *Seat) {
	number, generation, err := r.room.Join(s.user, s.after)
	if err != nil {
		code := codeOf(err)
		r.h.met.joins.WithLabelValues(code).Inc()
		r.tell(Told{Seat: s, Kind: KindNotIn, Note: &Note{Code: code, Reason: string(r.end.why)}})
		return
	}
	if before := r.seats[number]; before != nil && before != s {
		r.tell(Told{Seat: before, Kind: KindLeft, Note: &Note{Room: r.id, Why: whyReplaced}})
	}
	s.number, s.generation = number, generation
	r.seat(number, s)
	r.h.met.joins.WithLabelValues("joined").Inc()
	epoch := r.epoch.Load()
	r.tell(Told{Seat: s, Kind: KindJoined, Note: &Note{
		Room: r.id, Class: r.class.Name, Number: number, Hz: r.class.Hz, Binary: r.class.Binary,
		Epoch: epoch, Ticket: r.h.ticket(r.id, epoch, s.user),
	}})
}

// tick runs the tick that is due, if one is.
func (r *running) tick() {
	began := r.h.now()
	if began < r.room.Due() {
		return
	}
	r.room.Tick(began)
	took := r.h.now() - began
	r.times.add(took)
	r.h.met.tickSeconds.Observe(took.Seconds())
	r.count()
	r.show()
	r.checkpoint(began)
}

// count adds what has happened since it was called last to the metrics.
func (r *running) count() {
	now, was, m := r.room.Stats(), &r.last, r.h.met
	m.ticks.Add(float64(now.Ticks - was.Ticks))
	m.overruns.Add(float64(now.Skipped - was.Skipped))
	m.frames.Add(float64(now.Frames - was.Frames))
	m.encoded.Add(float64(now.Encoded - was.Encoded))
	m.messages.Add(float64(now.Messages - was.Messages))
	*was = now
}

// show has others know how the room is.
func (r *running) show() {
	was, taken, metadata, lack := r.shown.Load(), r.room.Taken(), r.room.Metadata(), r.room.Lacking()
	if was.taken == taken && was.lack == lack && sameBytes(was.metadata, metadata) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return // the host has taken leave of it, or does so now
	}
	r.shown.Store(&shown{taken, metadata, lack})
	r.h.taken.Add(int64(taken - was.taken))
}

// sameBytes reports whether a and b are the same memory. Nobody changes metadata.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
