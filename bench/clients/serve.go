package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/times"
	"github.com/homing/homing/bench/usage"
)

// swarm is what one process is asked to hold.
type swarm struct {
	Fronts  []netip.AddrPort
	Path    string
	Dialect Dialect
	Secret  []byte  // signs the players' tokens (HS256)
	First   int     // number of the first client
	Count   int     // clients
	Rate    float64 // connects a second; 0: as fast as they succeed
	Under   int     // handshakes under way at a time
	Apart   bool    // the clients are subjects of a fault
	Buffer  int     // bytes of a socket's receive buffer; 0: the kernel's choice
	Topics  int     // see Plan

	Ahead time.Duration // how far this process's clock is ahead of the hive's
}

// front is the one that a client of a number in the whole run connects to.
func (s *swarm) front(number int) netip.AddrPort { return s.Fronts[number%len(s.Fronts)] }

// server is the main loop of a bee process.
type server struct {
	engine  *engine
	dialing *dialing // nil: no connect call under way
	joining *joining // nil: no join call under way
}

// Serve is what a bee process does: it reads calls from in and answers on out
// until in ends or ctx does. It uses the calling goroutine for all clients.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	own, err := ParseSources(os.Getenv(SourceVar))
	if err != nil {
		return fmt.Errorf("%s: %w", SourceVar, err)
	}
	e, err := newEngine()
	if err != nil {
		return err
	}
	defer e.close()
	e.own = own
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
		if err := e.turn(s.pause()); err != nil {
			return err
		}
		s.step()
	}
	return ctx.Err()
}

// pause is how long a turn may wait: it bounds how late a call or a connect is.
func (s *server) pause() time.Duration {
	if s.dialing != nil || s.joining != nil || s.storming() {
		return time.Millisecond
	}
	return 20 * time.Millisecond
}

func (s *server) storming() bool { return s.engine.storm != nil && !s.engine.storm.over }

// step goes on with what takes longer than a turn.
func (s *server) step() {
	if s.dialing != nil && s.dialing.step() {
		s.dialing = nil
	}
	if s.joining != nil && s.joining.step() {
		s.joining = nil
	}
	if s.storming() {
		s.engine.storm.step()
	}
}

var (
	errCall    = errors.New("unknown call")
	errNoStorm = errors.New("no storm to tell of")
	errStorm   = errors.New("a storm is under way")
)

// do answers a call, but for connect and join, which dialing and joining answer.
func (s *server) do(r child.Request) {
	if r.Do == "connect" {
		s.dialing = newDialing(r, s.engine)
		return
	}
	if r.Do == "join" {
		s.joining = newJoining(r, s.engine)
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
	e := s.engine
	switch r.Do {
	case "prepare":
		return nil, s.prepare(r)
	case "reset":
		return nil, s.reset(r)
	case "counts":
		return report{Counts: e.count, Failed: e.failed, CPU: usage.Own()}, nil
	case "report":
		return s.report()
	case "sample":
		return s.sample()
	case "verify":
		return s.verify(r)
	case "storm":
		return nil, s.storm()
	case "comeback":
		return s.comeback()
	case "stall":
		return nil, e.stall()
	default:
		return nil, fmt.Errorf("%w: %q", errCall, r.Do)
	}
}

func (s *server) prepare(r child.Request) error {
	var w swarm
	if err := r.Read(&w); err != nil {
		return err
	}
	if w.Apart {
		if err := child.StepBack(); err != nil {
			return err
		}
	}
	return s.engine.prepare(w)
}

func (s *server) reset(r child.Request) error {
	s.engine.forget()
	return r.Read(&s.engine.swarm.Ahead)
}

func (s *server) report() (r report, err error) {
	e := s.engine
	all := times.New()
	all.Merge(e.lag)
	all.Merge(e.recent)
	r = report{Counts: e.count, Failed: e.failed}
	r.Lag, err = times.Encode(all)
	return r, err
}

func (s *server) sample() (r report, err error) {
	e := s.engine
	r = report{Counts: e.count, Failed: e.failed, CPU: usage.Own()}
	r.Lag, err = times.Encode(e.recent)
	e.lag.Merge(e.recent)
	e.recent.Reset()
	return r, err
}

func (s *server) verify(r child.Request) (Verdict, error) {
	var v verification
	if err := r.Read(&v); err != nil {
		return Verdict{}, err
	}
	got := make([][]uint32, len(s.engine.bees))
	for i := range s.engine.bees {
		got[i] = s.engine.bees[i].got
	}
	verdict := verify(v.Plan, v.Sent, s.engine.swarm.First, got)
	if s.engine.swarm.Apart {
		verdict.Expected, verdict.Lost = 0, 0
	}
	return verdict, nil
}

func (s *server) storm() error {
	if s.storming() {
		return errStorm
	}
	s.engine.storm = newStorm(s.engine)
	return nil
}

func (s *server) comeback() (comeback, error) {
	if s.engine.storm == nil {
		return comeback{}, errNoStorm
	}
	return s.engine.storm.report()
}
