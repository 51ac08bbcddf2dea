package room

import (
	"fmt"
	"runtime/debug"
)

// Finish ends the room with a result. A room that has ended stays as it is.
func (r *Room) Finish(result []byte) {
	r.note(Input{Op: opFinish, Data: result})
	if r.ended == "" {
		r.finishing, r.result = true, result
		r.run(func() {})
	}
}

// Close ends the room without a result. A room that has ended stays as it is.
func (r *Room) Close() { r.stop(EndClosed) }

// Lose is Close for a room whose process ends.
func (r *Room) Lose() { r.stop(EndLost) }

func (r *Room) stop(why EndReason) {
	r.note(Input{Op: opStop, Name: string(why)})
	if r.ended == "" {
		r.frames.flush(r.tick, r.out)
		r.end(why, nil)
	}
}

// run calls the logic. One that panics ends the room; one that has finished it
// too, once it has returned.
func (r *Room) run(call func()) {
	if r.ended != "" {
		return
	}
	r.depth++
	failure := caught(call)
	r.depth--
	switch {
	case r.ended != "": // by a call within this one
	case failure != "":
		r.logic = Plain{} // it may be in any state
		r.end(EndFailed, []byte(failure))
	case r.finishing && r.depth == 0:
		r.frames.flush(r.tick, r.out)
		r.end(EndFinished, r.result)
	}
}

// caught runs call and returns what it panicked with, and where; empty: it has not.
func caught(call func()) (failure string) {
	defer func() {
		if v := recover(); v != nil {
			failure = fmt.Sprintf("%v\n%s", v, debug.Stack())
		}
	}()
	call()
	return ""
}

// end is the room's end: everybody leaves, and nothing is said any more.
func (r *Room) end(why EndReason, result []byte) {
	logic := r.logic
	r.ended = why // from now on nothing runs
	for i := range r.seats.all {
		if x := &r.seats.all[i]; x.stage != seatFree {
			r.out.Left(i, Member{x.user, i}, LeftClosed, string(why))
			r.seats.free(i)
		}
	}
	if why != EndMoved {
		_ = caught(func() { logic.Close(r.table()) }) // there is nothing left to end
	}
	r.out.Ended(why, result)
}
