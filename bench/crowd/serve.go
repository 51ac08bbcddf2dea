package crowd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/homing/homing/bench/child"
)

// Seat is a place in a room, and how its player gets there.
type Seat struct {
	Addr   netip.AddrPort // of the server
	Path   string         // of the connection, with its query
	Login  string         // what the player says when it is invited to; see the dialect
	Room   int            // number of the room, among all that are played in
	Number int            // of the seat in the room, from 0
	From   int            // number of the player in the whole run, which gives the address that it comes from
}

// arrival is what a process is asked to bring in.
type arrival struct {
	Dialect Dialect
	Hz      int // ticks a second
	Seats   []Seat
}

// server is the main loop of a process with players.
type server struct {
	engine   *engine
	entering *entrance // nil: no enter call under way
}

// Serve is what a process with players does: it reads calls from in and answers
// on out until in ends or ctx does. It uses the calling goroutine for all players.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	e, err := newEngine()
	if err != nil {
		return err
	}
	defer e.close()
	s := &server{engine: e}
	requests := child.Requests(in, out)
	for ctx.Err() == nil {
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			s.do(r)
		default:
		}
		e.talk()
		if err := e.turn(s.pause()); err != nil {
			return err
		}
		if s.entering != nil && s.entering.step() {
			s.entering = nil
		}
	}
	return ctx.Err()
}

// pause is how long a turn may wait: it bounds how late a message or a call is.
func (s *server) pause() time.Duration {
	if s.entering != nil || s.engine.schedule != nil {
		return time.Millisecond
	}
	return 20 * time.Millisecond
}

var errCall = errors.New("unknown call")

// do answers a call, but for enter, which the entrance answers.
func (s *server) do(r child.Request) {
	if r.Do == "enter" {
		if err := s.enter(r); err != nil {
			r.Fail(err)
		}
		return
	}
	answer, err := s.answer(r)
	if err != nil {
		r.Fail(err)
		return
	}
	r.Reply(answer)
}

func (s *server) answer(r child.Request) (any, error) {
	switch r.Do {
	case "play":
		var rate float64
		if err := r.Read(&rate); err != nil {
			return nil, err
		}
		s.engine.play(rate)
		return nil, nil
	case "mark":
		s.engine.mark()
		return nil, nil
	case "report":
		return s.engine.report()
	case "leave":
		s.engine.leave()
		return nil, nil
	default:
		return nil, fmt.Errorf("%w: %q", errCall, r.Do)
	}
}

func (s *server) enter(r child.Request) error {
	var a arrival
	err := r.Read(&a)
	if err != nil {
		return err
	}
	e := s.engine
	if e.speech, err = a.Dialect.speech(); err != nil {
		return err
	}
	e.period = float64(time.Second) / float64(a.Hz)
	first := len(e.players)
	for _, seat := range a.Seats {
		e.add(seat)
	}
	s.entering = newEntrance(r, e, first)
	return nil
}

const (
	// enterUnder is how many players of a process enter at a time: few enough for
	// the accept queues of common servers (Node's holds 511).
	enterUnder    = 200
	patience      = 20 * time.Second // from connect to seat
	progressEvery = 500 * time.Millisecond
)

// entrance is an enter call in progress.
type entrance struct {
	request  child.Request
	engine   *engine
	next     int       // player to dial next
	dialed   time.Time // when the last was
	reported time.Time
}

func newEntrance(r child.Request, e *engine, first int) *entrance {
	now := time.Now()
	return &entrance{request: r, engine: e, next: first, dialed: now, reported: now}
}

var errNoSeat = fmt.Errorf("no seat within %v", patience)

// step dials for those who may enter now. It answers the call, and reports true,
// when everybody has a seat or has failed.
func (n *entrance) step() (done bool) {
	e, now := n.engine, time.Now()
	for n.next < len(e.players) && e.under < enterUnder {
		e.dial(n.next)
		n.next++
		n.dialed = now
	}
	if now.Sub(n.reported) > progressEvery {
		n.reported = now
		n.request.Progress(e.count.Players)
	}
	if e.under > 0 && now.Sub(n.dialed) > patience {
		n.giveUp()
	}
	if n.next < len(e.players) || e.under > 0 {
		return false
	}
	n.request.Reply(report{Counts: e.count, Why: e.reason})
	return true
}

// giveUp fails those who are on their way.
func (n *entrance) giveUp() {
	for i := range n.engine.players {
		if s := n.engine.players[i].state; s != gone && s != playing {
			n.engine.fail(i, errNoSeat)
		}
	}
}
