package host

import (
	"context"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/room/asks"
	"github.com/homing/homing/hub/room/directory"
)

const (
	// lateFor is how long what members say follows a room that has moved, and maxLate
	// how much of it waits.
	lateFor     = 2 * time.Second
	maxLate     = 256
	lateTimeout = 3 * time.Second
)

// follower sends what members have said after a room that has moved, in order: they
// have not read yet that it has.
//
//bound:room-late
type follower struct {
	said chan asks.Said
	over chan struct{} // closed when nothing follows any more
}

// follow begins with what is there already.
func (m *mover) follow(id string, to *directory.Record, first []asks.Said) *follower {
	f := &follower{said: make(chan asks.Said, maxLate), over: make(chan struct{})}
	go func() { // for a moment: it is not waited for when the process stops
		defer close(f.over)
		end := time.After(lateFor)
		for said := first; ; {
			m.sendLate(id, to, said)
			select {
			case <-end:
				return
			case next := <-f.said:
				said = []asks.Said{next}
			}
			for len(f.said) > 0 {
				said = append(said, <-f.said)
			}
		}
	}()
	return f
}

// add reports whether s follows the room.
func (f *follower) add(s asks.Said) bool {
	select {
	case <-f.over:
		return false
	default:
	}
	select {
	case f.said <- s:
		return true
	default:
		return false
	}
}

func (m *mover) sendLate(id string, to *directory.Record, said []asks.Said) {
	if len(said) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lateTimeout)
	defer cancel()
	late := asks.Late{Room: id, Epoch: to.Epoch, Said: said}
	if err := m.ask(ctx, to.Owner, asks.MethodLate, &late, new(nothing)); err != nil {
		m.met.refused.WithLabelValues(CodeMoved).Add(float64(len(said)))
		m.Log.Warn("room: messages did not follow the room", "room", id, "messages", len(said), "err", err)
	}
}

func (m *mover) late(ctx context.Context, _ hub.ProcessID, ask *asks.Late) (*nothing, error) {
	r := m.table.find(ask.Room)
	if r == nil || r.epoch.Load() < ask.Epoch {
		return nil, errNotHere
	}
	return &nothing{}, r.do(ctx, func() error {
		for _, s := range ask.Said {
			if s.Left {
				r.room.LeaveLate(s.User)
			} else {
				r.room.Late(s.User, s.Data, r.now())
			}
		}
		return nil
	})
}
