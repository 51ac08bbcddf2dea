package room

// seatSet is a set of seats.
type seatSet [MaxSeats / 64]uint64

func (s *seatSet) add(seat int)      { s[seat/64] |= 1 << (seat % 64) }
func (s *seatSet) remove(seat int)   { s[seat/64] &^= 1 << (seat % 64) }
func (s *seatSet) has(seat int) bool { return s[seat/64]&(1<<(seat%64)) != 0 }

// Audience is who may read something. Nobody else receives a byte of it.
type Audience struct {
	all   bool // everybody but those of seats; else those of seats only
	seats seatSet
}

// Everyone is all members, those who come later too.
func Everyone() Audience { return Audience{all: true} }

// Others is everyone but m.
func Others(m Member) Audience {
	a := Everyone()
	a.seats.add(m.Seat)
	return a
}

// Only is the members given.
func Only(members ...Member) (a Audience) {
	for _, m := range members {
		a.seats.add(m.Seat)
	}
	return a
}

// has reports whether who sits on seat may read it.
func (a *Audience) has(seat int) bool { return a.seats.has(seat) != a.all }

// forget takes the user out who sits on seat: the next one there is another.
func (a *Audience) forget(seat int) { a.seats.remove(seat) }
