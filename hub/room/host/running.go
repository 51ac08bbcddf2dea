package host

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/call"
	"github.com/homing/homing/hub/room"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

// doubtPause is how long a room waits when the process's standing is in doubt, before
// it looks again.
const doubtPause = 20 * time.Millisecond

// running is one room with the goroutine that runs it.
type running struct {
	*env
	table *table
	guide *guide
	saver *saver
	mover *mover

	id    string
	class *room.Class
	made  time.Time

	epoch  atomic.Uint64
	busy   atomic.Int64 // since when it works, on the host's clock; 0: it waits
	shown  atomic.Pointer[shown]
	gone   chan struct{} // closed when the room has ended here
	inputs inputs
	seats  seats

	// The goroutine's own.
	room    *room.Room
	telling telling
	spare   []input
	move    *move // under way; nil: none
	end     ending
	last    room.Stats
	times   durations
	saveAt  time.Duration // when the next checkpoint is due
	record  *recordFile
}

// shown is what others may know of a room.
type shown struct {
	taken    int
	metadata []byte
	lack     *room.Lack // nil: it lacks nobody
}

// opening is shown of a room that may not have yet what it was opened with. Nobody
// notes it: the directory knows better.
var opening = &shown{}

// ending is how a room ends.
type ending struct {
	why     room.EndReason
	result  []byte
	members []hub.UserID // who were there
	silent  bool         // the room is another process's: nothing is said in its name
}

// say queues a message, or returns the code of its refusal.
func (r *running) say(s *Seat, data []byte) (code string) {
	switch code = r.inputs.say(s, data); {
	case code == CodeTooMuch:
		r.met.refused.WithLabelValues(code).Inc()
	case r.class.Immediate:
		r.inputs.poke()
	}
	return code
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
	if !r.inputs.control(input{kind: inputCommand, do: call}) {
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
		case <-r.inputs.wake:
		}
		r.turn()
		r.busy.Store(0)
		timer.Reset(r.rest())
	}
	r.finish()
}

// goesOn reports whether the room has not ended here.
func (r *running) goesOn() bool { return r.end.why == "" && !r.inputs.isAbandoned() }

// rest is how long the room has nothing to do of its own.
func (r *running) rest() time.Duration {
	left := r.room.Due() - r.now()
	if r.move != nil || left <= 0 && r.telling.held() {
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
	r.busy.Store(int64(r.now()))
	if r.move != nil {
		r.mover.goOn(r)
	}
	if r.move == nil && r.end.why == "" {
		r.takeInputs()
	}
	if r.move == nil && r.end.why == "" && !r.telling.unwritten.Load() {
		r.tick()
	}
	r.send()
}

// mayAct reports whether the process is in good standing. One that is lost has no
// rooms any more, and says nothing of that: its players are sent away.
func (r *running) mayAct() bool {
	switch r.Standing() {
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
	waited := r.inputs.take(r.spare)
	for i := range waited {
		if r.move != nil || r.end.why != "" { // by the input before
			r.inputs.putBack(waited[i:])
			break
		}
		r.take(&waited[i])
		waited[i] = input{}
	}
	clear(waited)
	r.spare = waited[:0]
}

func (r *running) take(in *input) {
	switch s := in.seat; in.kind {
	case inputSay:
		if err := r.room.Message(s.number, s.generation, in.data, r.now()); err != nil {
			r.refuse(s, codeOf(err))
		}
	case inputJoin:
		r.join(s)
	case inputGone:
		if r.sits(s) {
			r.seats.put(s.number, nil)
			r.room.Gone(s.number, s.generation, r.now())
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
func (r *running) sits(s *Seat) bool { return s.generation != 0 && r.seats.all[s.number] == s }

// refuse notes that a message of s was refused.
func (r *running) refuse(s *Seat, code string) {
	r.met.refused.WithLabelValues(code).Inc()
	r.telling.refuse(s, code)
}

func (r *running) join(s *Seat) {
	number, generation, err := r.room.Join(s.user, s.after)
	if err != nil {
		code := codeOf(err)
		r.met.joins.WithLabelValues(code).Inc()
		r.telling.add(Told{Seat: s, Kind: KindNotIn, Note: &Note{Code: code, Reason: string(r.end.why)}})
		return
	}
	if before := r.seats.all[number]; before != nil && before != s {
		r.telling.add(Told{Seat: before, Kind: KindLeft, Note: &Note{Room: r.id, Why: whyReplaced}})
	}
	s.number, s.generation = number, generation
	r.seats.put(number, s)
	r.met.joins.WithLabelValues("joined").Inc()
	epoch := r.epoch.Load()
	r.telling.add(Told{Seat: s, Kind: KindJoined, Note: &Note{
		Room: r.id, Class: r.class.Name, Number: number, Hz: r.class.Hz, Binary: r.class.Binary,
		Epoch: epoch, Ticket: r.guide.ticket(r.id, epoch, s.user),
	}})
}

// tick runs the tick that is due, if one is.
func (r *running) tick() {
	began := r.now()
	if began < r.room.Due() {
		return
	}
	r.room.Tick(began)
	took := r.now() - began
	r.times.add(took)
	r.met.tickSeconds.Observe(took.Seconds())
	r.count()
	r.show()
	r.saver.ask(r, began)
}

// count adds what has happened since it was called last to the metrics.
func (r *running) count() {
	now, was, m := r.room.Stats(), &r.last, r.met
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
	if was != opening && was.taken == taken && was.lack == lack && sameBytes(was.metadata, metadata) {
		return
	}
	r.inputs.unlessClosed(func() { // else the host has taken leave of it, or does so now
		r.shown.Store(&shown{taken, metadata, lack})
		r.table.taken.Add(int64(taken - was.taken))
	})
}

// sameBytes reports whether a and b are the same memory. Nobody changes metadata.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// rec is the record of the room as its owner knows it.
func (r *running) rec() *directory.Record {
	s := r.shown.Load()
	return &directory.Record{
		Room: r.id, Class: r.class.Name, Owner: r.Process, Epoch: r.epoch.Load(), URL: r.cfg.URL, Made: r.made,
		Seats: r.class.Seats, Taken: s.taken, Metadata: s.metadata,
	}
}

// durations are the last that were added.
type durations struct {
	ring [128]time.Duration
	n    int
}

func (d *durations) add(x time.Duration) {
	d.ring[d.n%len(d.ring)] = x
	d.n++
}

// quantile is in milliseconds; 0: nothing was added.
func (d *durations) quantile(q float64) float64 {
	all := slices.Sorted(slices.Values(d.ring[:min(d.n, len(d.ring))]))
	if len(all) == 0 {
		return 0
	}
	return all[min(int(q*float64(len(all))), len(all)-1)].Seconds() * 1000
}
