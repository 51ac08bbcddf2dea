package bees

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/child"
)

// swarm is what one process is asked to hold.
type swarm struct {
	Fronts []netip.AddrPort
	Path   string
	First  int     // number of the first client
	Count  int     // clients
	Rate   float64 // connects a second; 0: as fast as they succeed
	Secret []byte  // signs the players' tokens (HS256)
}

// report is what one process has seen since the last reset.
type report struct {
	Counts Counts
	Lag    string // an encoded histogram
	Failed string // why a client failed last
}

type verification struct {
	Plan Plan
	Sent Sent
}

const (
	dialsUnderWay = 256 // handshakes at a time and process
	patience      = 20 * time.Second
)

// server is the main loop of a bee process.
type server struct {
	engine  *engine
	dialing *dialing // nil: no connect under way
}

// dialing is a connect call in progress.
type dialing struct {
	req      child.Request
	swarm    swarm
	started  time.Time
	next     int // client to dial next
	reported time.Time
}

// Serve is what a bee process does: it reads calls from in and answers on out
// until in ends or ctx does. It uses the calling goroutine for all clients.
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
		if err := e.turn(s.pause()); err != nil {
			return err
		}
		s.dialMore()
	}
	return ctx.Err()
}

// pause is how long a turn may wait: it bounds how late a call or a connect is.
func (s *server) pause() time.Duration {
	if s.dialing != nil {
		return time.Millisecond
	}
	return 20 * time.Millisecond
}

func (s *server) do(r child.Request) {
	var err error
	switch r.Do {
	case "connect":
		err = s.connect(r)
	case "reset":
		s.engine.lag.Reset()
		r.Reply(nil)
	case "report":
		err = s.report(r)
	case "verify":
		err = s.verify(r)
	default:
		err = fmt.Errorf("unknown call %q", r.Do)
	}
	if err != nil {
		r.Fail(err)
	}
}

func (s *server) connect(r child.Request) error {
	d := &dialing{req: r, started: time.Now(), reported: time.Now()}
	if err := r.Read(&d.swarm); err != nil {
		return err
	}
	e := s.engine
	e.bees = make([]bee, d.swarm.Count)
	e.first, e.fronts, e.path = d.swarm.First, d.swarm.Fronts, d.swarm.Path
	e.token = tokens(d.swarm.Secret)
	s.dialing = d
	return nil
}

// dialMore starts the connects that are due, and answers the call when every
// client is registered or has failed.
func (s *server) dialMore() {
	d, e := s.dialing, s.engine
	if d == nil {
		return
	}
	for d.next < len(e.bees) && e.under < dialsUnderWay && d.due() {
		e.dial(d.next)
		d.next++
	}
	if time.Since(d.reported) > 500*time.Millisecond {
		d.reported = time.Now()
		d.req.Progress(e.count)
	}
	if d.next == len(e.bees) && (e.under == 0 || time.Since(d.started) > d.length()+patience) {
		d.req.Reply(report{Counts: e.count, Failed: e.failed})
		s.dialing = nil
	}
}

// due reports whether the schedule wants the next connect now.
func (d *dialing) due() bool {
	return d.swarm.Rate <= 0 || float64(d.next) <= time.Since(d.started).Seconds()*d.swarm.Rate
}

// length is how long the schedule takes.
func (d *dialing) length() time.Duration {
	if d.swarm.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(d.swarm.Count) / d.swarm.Rate * float64(time.Second))
}

func (s *server) report(r child.Request) error {
	raw, err := s.engine.lag.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return fmt.Errorf("encode latencies: %w", err)
	}
	r.Reply(report{Counts: s.engine.count, Lag: string(raw), Failed: s.engine.failed})
	return nil
}

func (s *server) verify(r child.Request) error {
	var v verification
	if err := r.Read(&v); err != nil {
		return err
	}
	got := make([][]uint32, len(s.engine.bees))
	for i := range s.engine.bees {
		got[i] = s.engine.bees[i].got
	}
	r.Reply(verify(v.Plan, v.Sent, s.engine.first, got))
	return nil
}
