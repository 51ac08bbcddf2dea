package room

import (
	"slices"

	"github.com/homing/homing/hub"
)

// flush sends every member what has been said since the last flush, in one frame.
// Those who may read the same get the same bytes: it is encoded once for them.
func (r *Room) flush() {
	said, _ := r.events.since(r.events.sent)
	views := make(map[string][]byte)
	var view []byte // what a seat is told, one byte for each event and changed key
	for seat := range r.seats.all {
		x := &r.seats.all[seat]
		if x.stage != seatTaken || r.arrivalOf(seat) >= 0 {
			continue
		}
		view = r.view(view[:0], said, x.user)
		if !slices.ContainsFunc(view, func(b byte) bool { return told(b) != toldNothing }) {
			continue
		}
		b := views[string(view)]
		if b == nil {
			b = r.frame(goesOn, said, r.states.changed, x.user)
			views[string(view)] = b
		}
		r.stats.Frames++
		r.out.Frame(seat, b)
	}
	r.stats.Encoded += int64(len(views))
	r.welcome()
	r.events.settle()
	r.states.settle()
}

func (r *Room) view(view []byte, said []event, user hub.UserID) []byte {
	for i := range said {
		t := toldNothing
		if said[i].to.has(user) {
			t = toldValue
		}
		view = append(view, byte(t))
	}
	for _, key := range r.states.changed {
		view = append(view, byte(r.states.keys[key].tells(user)))
	}
	return view
}

// arrival is a connection that has taken its seat since the last flush.
type arrival struct {
	seat  int
	after uint64 // the last event that its user has read
	lost  bool   // that is no place of this room: what is missing is not known
}

func (r *Room) arrivalOf(seat int) int {
	return slices.IndexFunc(r.arrivals, func(a arrival) bool { return a.seat == seat })
}

func (r *Room) forgetArrival(seat int) {
	r.arrivals = slices.DeleteFunc(r.arrivals, func(a arrival) bool { return a.seat == seat })
}

// welcome sends those who came since the last flush all that they may read: the
// events that they have missed, and every state.
func (r *Room) welcome() {
	if len(r.arrivals) == 0 {
		return
	}
	all := r.states.sorted()
	for _, a := range r.arrivals {
		missed, whole := r.events.since(a.after)
		rec := lostSome
		if whole && !a.lost {
			rec = recovered
		}
		r.stats.Encoded++
		r.stats.Frames++
		r.out.Frame(a.seat, r.frame(rec, missed, all, r.seats.all[a.seat].user))
	}
	r.arrivals = r.arrivals[:0]
}

func (r *Room) frame(rec recovery, said []event, keys []string, user hub.UserID) []byte {
	f := beginFrame(r.class.Binary, r.tick, rec)
	f.events(said, func(a *Audience) bool { return a.has(user) })
	n := 0
	for _, key := range keys {
		if r.tells(rec, key, user) != toldNothing {
			n++
		}
	}
	f.states(keys, n, func(key string) ([]byte, told) { return r.states.keys[key].data, r.tells(rec, key, user) })
	return f.end()
}

// tells says what user is told of key: a connection that is welcomed has no state
// that could be gone.
func (r *Room) tells(rec recovery, key string, user hub.UserID) told {
	t := r.states.keys[key].tells(user)
	if t == toldGone && rec != goesOn {
		return toldNothing
	}
	return t
}
