package crowd

import (
	"slices"
	"testing"
	"time"

	"github.com/homing/homing/bench/times"
)

func TestScheduleIsEven(t *testing.T) {
	start := time.Unix(1000, 0)
	s := newSchedule(start, 20, []int{5, 7, 9})
	var players []int
	var last int64
	for n := range 6 {
		due := s.due() - start.UnixNano()
		if want := int64(n) * int64(50*time.Millisecond) / 3; due < want-1 || due > want+1 || n > 0 && due <= last {
			t.Errorf("message %d is due after %d ns, want %d", n, due, want)
		}
		last = due
		i, said := s.take()
		players = append(players, i)
		if said != int64(n/3) {
			t.Errorf("message %d is number %d of its player", n, said)
		}
	}
	if want := []int{5, 7, 9, 5, 7, 9}; !slices.Equal(players, want) {
		t.Errorf("players %v, want %v", players, want)
	}
}

// TestDueOf: from the 16 bits that a position carries, the instant comes back, also
// after they have begun anew.
func TestDueOf(t *testing.T) {
	start := time.Unix(1000, 0)
	s := newSchedule(start, 20, []int{0, 1})
	for _, said := range []int64{0, 1, 77, 65_535, 65_536, 65_537, 200_000} {
		for place := range 2 {
			due := start.UnixNano() + said*int64(50*time.Millisecond) + int64(place)*int64(25*time.Millisecond)
			for _, later := range []time.Duration{0, time.Millisecond, 60 * time.Millisecond, 90 * time.Second} {
				if got := s.dueOf(place, uint16(said), due+int64(later)+10); got < due-100 || got > due+100 {
					t.Errorf("message %d of place %d, read %v later: due %d ns off", said, place, later, got-due)
				}
			}
		}
	}
}

func TestRoomIsLateByItsSchedule(t *testing.T) {
	const period = float64(50 * time.Millisecond)
	var r timetable
	at := func(tick int64, late time.Duration) { r.note(1e18+tick*int64(period)+int64(late), tick, period) }
	at(7, 3*time.Millisecond)
	at(8, time.Millisecond)
	at(9, 0)                    // the least late
	at(12, 80*time.Millisecond) // two ticks were left out, and it is later than one
	h := times.New()
	r.addLate(h)
	if h.TotalCount() != 4 || h.Max() < 79_000 || h.Max() > 81_000 {
		t.Errorf("%d frames, the latest after %d µs", h.TotalCount(), h.Max())
	}
	if p := h.ValueAtPercentile(50); p < 900 || p > 1100 {
		t.Errorf("the median frame is late by %d µs, want 1,000", p)
	}
	r.forget()
	h.Reset()
	if r.addLate(h); h.TotalCount() != 0 {
		t.Errorf("%d frames of a room that was forgotten", h.TotalCount())
	}
}
