package crowd

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// timetable is the schedule of one room's ticks, as its players in this process see
// it.
type timetable struct {
	begun bool
	at    int64   // when the first frame was read, Unix nanoseconds
	tick  int64   // of that frame
	late  []int32 // by frame, µs that it came after the first one's schedule; below 0: before
}

// note keeps when a frame of a tick was read. period is the time between two
// ticks in nanoseconds.
func (r *timetable) note(now, tick int64, period float64) {
	if !r.begun {
		r.begun, r.at, r.tick = true, now, tick
	}
	due := r.at + int64(float64(tick-r.tick)*period)
	r.late = append(r.late, int32((now-due)/int64(time.Microsecond)))
}

// forget drops all frames.
func (r *timetable) forget() { *r = timetable{late: r.late[:0]} }

// addLate adds to h how late every frame was: the least late one was on time.
func (r *timetable) addLate(h *hdrhistogram.Histogram) {
	if len(r.late) == 0 {
		return
	}
	least := r.late[0]
	for _, l := range r.late {
		least = min(least, l)
	}
	for _, l := range r.late {
		_ = h.RecordValue(max(1, int64(l-least))) // out of range: minutes, and the lost ticks tell
	}
}
