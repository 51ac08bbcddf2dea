package crowd

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/times"
)

// Counts are totals of one process or of all. Those that are not of the moment
// or since Leave are since Mark.
type Counts struct {
	Players    int // in their rooms now
	Failed     int // that did not get there; since Leave
	Lost       int // whose connection ended while they played; since Leave
	Violations int // messages that a server should not have sent; since Leave

	Sent    int // messages
	Unsent  int // messages that were due and that a socket had no room for
	Refused int // messages that the server said it refused
	Frames  int // read
	Skipped int // ticks between two frames of a player that it got no frame of
	Again   int // frames of a tick that the player had had a frame of
	Bytes   int // read, the heads of frames included
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		Players: c.Players + d.Players, Failed: c.Failed + d.Failed, Lost: c.Lost + d.Lost, Violations: c.Violations + d.Violations,
		Sent: c.Sent + d.Sent, Unsent: c.Unsent + d.Unsent, Refused: c.Refused + d.Refused,
		Frames: c.Frames + d.Frames, Skipped: c.Skipped + d.Skipped, Again: c.Again + d.Again, Bytes: c.Bytes + d.Bytes,
	}
}

// Report is what players have seen since Mark. The times are in microseconds.
type Report struct {
	Counts
	Took   time.Duration           // since Mark
	Why    string                  // why a player failed last
	Late   *hdrhistogram.Histogram // by frame: what it came after its tick; see the package
	Echo   *hdrhistogram.Histogram // of some frames: since the player was to say what it holds
	Behind *hdrhistogram.Histogram // by message: what it was sent after its instant; that is the load's own fault
}

// report is a Report as a process gives it.
type report struct {
	Counts             Counts
	Took               time.Duration
	Why                string
	Late, Echo, Behind string // encoded
}

func (e *engine) report() (r report, err error) {
	r = report{Counts: e.count, Took: time.Since(e.marked), Why: e.reason}
	late := times.New()
	for i := range e.rooms {
		e.rooms[i].addLate(late)
	}
	for h, to := range map[*hdrhistogram.Histogram]*string{late: &r.Late, e.echo: &r.Echo, e.behind: &r.Behind} {
		if *to, err = times.Encode(h); err != nil {
			return r, err
		}
	}
	return r, nil
}

// sum adds up what processes report.
func sum(parts []report) (Report, error) {
	all := Report{Late: times.New(), Echo: times.New(), Behind: times.New()}
	for _, p := range parts {
		all.Counts = all.plus(p.Counts)
		all.Took = max(all.Took, p.Took)
		if p.Why != "" {
			all.Why = p.Why
		}
		for h, from := range map[*hdrhistogram.Histogram]string{all.Late: p.Late, all.Echo: p.Echo, all.Behind: p.Behind} {
			if err := times.Add(h, from); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}
