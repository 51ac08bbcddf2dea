package room

import (
	"slices"

	"github.com/homing/homing/hub"
)

// frames brings members what the room has for them.
type frames struct {
	binary bool
	seats  *seats
	states *states
	events *events

	arrivals      []arrival
	sent, encoded int64 // since the room began
}

// flush sends every member what has been said since the last flush, in one frame.
// Those who may read the same get the same bytes: it is encoded once for them.
func (f *frames) flush(tick int64, out Outlet) {
	said, _ := f.events.since(f.events.sent)
	views := make(map[string][]byte)
	var view []byte // what a seat is told, one byte for each event and changed key
	for seat := range f.seats.all {
		x := &f.seats.all[seat]
		if x.stage != seatTaken || f.arrivalOf(seat) >= 0 {
			continue
		}
		view = f.view(view[:0], said, x.user)
		if !slices.ContainsFunc(view, func(b byte) bool { return told(b) != toldNothing }) {
			continue
		}
		b := views[string(view)]
		if b == nil {
			b = f.frame(tick, goesOn, said, f.states.changed, x.user)
			views[string(view)] = b
		}
		f.sent++
		out.Frame(seat, b)
	}
	f.encoded += int64(len(views))
	f.welcome(tick, out)
	f.events.settle()
	f.states.settle()
}

func (f *frames) view(view []byte, said []event, user hub.UserID) []byte {
	for i := range said {
		t := toldNothing
		if said[i].to.has(user) {
			t = toldValue
		}
		view = append(view, byte(t))
	}
	for _, key := range f.states.changed {
		view = append(view, byte(f.states.keys[key].tells(user)))
	}
	return view
}

// arrival is a connection that has taken its seat since the last flush.
type arrival struct {
	seat  int
	after uint64 // the last event that its user has read
	lost  bool   // that is no place of this room: what is missing is not known
}

func (f *frames) arrivalOf(seat int) int {
	return slices.IndexFunc(f.arrivals, func(a arrival) bool { return a.seat == seat })
}

func (f *frames) forget(seat int) {
	f.arrivals = slices.DeleteFunc(f.arrivals, func(a arrival) bool { return a.seat == seat })
}

// welcome sends those who came since the last flush all that they may read: the
// events that they have missed, and every state.
func (f *frames) welcome(tick int64, out Outlet) {
	if len(f.arrivals) == 0 {
		return
	}
	all := f.states.sorted()
	for _, a := range f.arrivals {
		missed, whole := f.events.since(a.after)
		rec := lostSome
		if whole && !a.lost {
			rec = recovered
		}
		f.encoded++
		f.sent++
		out.Frame(a.seat, f.frame(tick, rec, missed, all, f.seats.all[a.seat].user))
	}
	f.arrivals = f.arrivals[:0]
}

func (f *frames) frame(tick int64, rec recovery, said []event, keys []string, user hub.UserID) []byte {
	b := beginFrame(f.binary, tick, rec)
	b.events(said, func(a *Audience) bool { return a.has(user) })
	n := 0
	for _, key := range keys {
		if f.tells(rec, key, user) != toldNothing {
			n++
		}
	}
	b.states(keys, n, func(key string) ([]byte, told) { return f.states.keys[key].data, f.tells(rec, key, user) })
	return b.end()
}

// tells says what user is told of key: a connection that is welcomed has no state
// that could be gone.
func (f *frames) tells(rec recovery, key string, user hub.UserID) told {
	t := f.states.keys[key].tells(user)
	if t == toldGone && rec != goesOn {
		return toldNothing
	}
	return t
}
