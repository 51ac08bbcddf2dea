package crowd

import "time"

// schedule says when each of a number of players is to say where it is: all of
// them once in a period, evenly spread over it. It does not wait for anybody.
type schedule struct {
	start  int64 // Unix nanoseconds
	period float64
	order  []int // players, in the order in which they speak
	next   int64 // number of the next message of all
}

// newSchedule begins at an instant. rate is messages a second of each player.
func newSchedule(now time.Time, rate float64, order []int) *schedule {
	return &schedule{start: now.UnixNano(), period: float64(time.Second) / rate, order: order}
}

// due is the instant of the next message.
func (s *schedule) due() int64 {
	turn, place := s.next/int64(len(s.order)), s.next%int64(len(s.order))
	return s.start + int64((float64(turn)+float64(place)/float64(len(s.order)))*s.period)
}

// take returns the next message: whose it is, and which one of that player.
func (s *schedule) take() (player int, said int64) {
	said, player = s.next/int64(len(s.order)), s.order[s.next%int64(len(s.order))]
	s.next++
	return player, said
}

// dueOf is when the player on a place in the order was due to say the latest
// message, not after now, whose number ends in these 16 bits.
func (s *schedule) dueOf(place int, said uint16, now int64) int64 {
	latest := int64(float64(now-s.start)/s.period - float64(place)/float64(len(s.order)))
	turn := latest - int64(uint16(latest)-said)
	if latest < 0 || turn < 0 {
		turn = int64(said)
	}
	return s.start + int64((float64(turn)+float64(place)/float64(len(s.order)))*s.period)
}
