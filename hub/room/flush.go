package room

import "slices"

// flush sends every member what has been said since the last flush, in one frame.
// Those who may read the same get the same bytes: it is encoded once for them.
func (r *Room) flush() {
	said, _ := r.events.since(r.events.sent)
	views := make(map[string][]byte)
	var view []byte // what a seat may read, one byte for each event and changed key
	for seat := range r.seats.all {
		if r.seats.all[seat].stage != seatTaken || slices.Contains(r.joined, seat) {
			continue
		}
		view = r.view(view[:0], said, seat)
		if !slices.Contains(view, 1) {
			continue
		}
		b := views[string(view)]
		if b == nil {
			b = r.frame(goesOn, said, r.states.changed, seat)
			views[string(view)] = b
			r.stats.Encoded++
		}
		r.send(seat, b)
	}
	r.welcome()
	r.events.settle()
	r.states.settle()
}

func (r *Room) send(seat int, frame []byte) {
	r.stats.Frames++
	r.out.Frame(seat, frame)
}

func (r *Room) view(view []byte, said []event, seat int) []byte {
	add := func(visible bool) {
		if visible {
			view = append(view, 1)
		} else {
			view = append(view, 0)
		}
	}
	for i := range said {
		add(said[i].to.has(seat))
	}
	for _, key := range r.states.changed {
		add(r.states.keys[key].to.has(seat))
	}
	return view
}

// welcome sends those who came since the last flush all that they may read: the
// events that they have missed, and every state.
func (r *Room) welcome() {
	all := r.states.sorted()
	for i, seat := range r.joined {
		missed, whole := r.events.since(r.read[i])
		rec := lostSome
		if whole {
			rec = recovered
		}
		r.stats.Encoded++
		r.send(seat, r.frame(rec, missed, all, seat))
	}
	r.joined, r.read = r.joined[:0], r.read[:0]
}

func (r *Room) frame(rec recovery, said []event, keys []string, seat int) []byte {
	f := beginFrame(r.class.Binary, r.tick, rec)
	f.events(said, func(a *Audience) bool { return a.has(seat) })
	n := 0
	for _, key := range keys {
		if r.states.keys[key].to.has(seat) {
			n++
		}
	}
	f.states(keys, n, func(key string) (data []byte, gone, visible bool) {
		x := r.states.keys[key]
		return x.data, x.gone, x.to.has(seat)
	})
	return f.end()
}
