package crowd

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// play begins the schedule: from now on every player says where it is, rate times
// a second. Those of one room are spread over the period, as players are who have
// nothing to do with each other.
func (e *engine) play(rate float64) {
	e.schedule = nil
	if rate <= 0 || len(e.players) == 0 {
		return
	}
	e.schedule = newSchedule(time.Now(), rate, e.order())
	for place, i := range e.schedule.order {
		e.players[i].place = place
	}
}

// order lists the players one of each room after another.
func (e *engine) order() []int {
	rooms := make([][]int, len(e.rooms))
	most := 0
	for i := range e.players {
		r := e.players[i].room
		rooms[r] = append(rooms[r], i)
		most = max(most, len(rooms[r]))
	}
	order := make([]int, 0, len(e.players))
	for seat := range most {
		for _, r := range rooms {
			if seat < len(r) {
				order = append(order, r[seat])
			}
		}
	}
	return order
}

// talkBatch is how many messages are sent between two looks at the sockets.
const talkBatch = 256

// talk sends what is due.
func (e *engine) talk() {
	if e.schedule == nil {
		return
	}
	now := time.Now().UnixNano()
	for range talkBatch {
		due := e.schedule.due()
		if due > now {
			return
		}
		i, said := e.schedule.take()
		if e.players[i].state == playing {
			e.say(i, said, now-due)
		}
	}
}

// say has a player say where it is, late by so many nanoseconds.
func (e *engine) say(i int, said, late int64) {
	e.said = e.speech.position(e.said[:0], positionOf(said, e.players[i].mark))
	err := e.send(i, e.speech.says, e.said)
	switch {
	case errors.Is(err, unix.EAGAIN):
		if e.measured {
			e.count.Unsent++
		}
	case err != nil:
		e.fail(i, err)
	case e.measured:
		e.count.Sent++
		_ = e.behind.RecordValue(max(1, late/1000)) // out of range: minutes
	}
}

// mark begins the measured part.
func (e *engine) mark() {
	for i := range e.rooms {
		e.rooms[i].forget()
	}
	e.echo.Reset()
	e.behind.Reset()
	c := &e.count
	*c = Counts{Players: c.Players, Failed: c.Failed, Lost: c.Lost, Violations: c.Violations}
	e.measured, e.marked = true, time.Now()
}
