package host

import (
	"context"
	"sync"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/asks"
)

const (
	// drainers is how many rooms move at once when the process stops.
	drainers   = 16
	drainPause = 100 * time.Millisecond
	// endAllTimeout is how long those that are left may take to end.
	endAllTimeout = 2 * time.Second
)

// drainer empties a process.
type drainer struct {
	*env
	table  *table
	mover  *mover
	keeper *keeper
}

// drain hands the rooms over to other processes, and ends those that do not go. Rooms
// that begin meanwhile are no exception.
func (d *drainer) drain(ctx context.Context) {
	d.table.drain()
	d.mover.hurry(d.cfg.DrainTimeout / 2)
	moving, cancel := context.WithTimeout(ctx, d.cfg.DrainTimeout)
	defer cancel()
	if err := d.keeper.offer(moving); err != nil {
		d.Log.Warn("room: the process still stands among those that take rooms", "err", err)
	}
	for all := d.table.all(); len(all) > 0; all = d.table.all() {
		d.sendAllAway(moving, all)
		if !pause(moving, drainPause) { // some take longer to end, and rooms may have begun
			break
		}
	}
	d.table.close()
	d.endAll()
}

// sendAllAway has each room move to another process, if it does at the first attempt.
func (d *drainer) sendAllAway(ctx context.Context, all []*running) {
	rooms := make(chan *running)
	var wg sync.WaitGroup
	for range drainers {
		wg.Go(func() {
			for r := range rooms {
				d.sendAway(ctx, r)
			}
		})
	}
	for _, r := range all {
		rooms <- r
	}
	close(rooms)
	wg.Wait()
}

// endAll ends the rooms that are left, and waits for a moment.
func (d *drainer) endAll() {
	left := d.table.all()
	for _, r := range left {
		d.Log.Warn("room: ends with its process", "room", r.id)
		r.inputs.control(input{kind: inputCommand, do: func() { r.room.Lose() }})
	}
	end := time.After(endAllTimeout)
	for _, r := range left {
		select {
		case <-r.gone:
		case <-end:
			return
		}
	}
}

// sendAway tries to move a room.
func (d *drainer) sendAway(ctx context.Context, r *running) {
	if ctx.Err() != nil || d.Standing() == hub.StandingLost {
		return
	}
	_, _ = d.mover.moveAway(ctx, "", &asks.Move{Room: r.id}) // it is tried again
}
