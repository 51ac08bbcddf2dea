package rehearsal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/homing/homing/hub/fleet"
)

// Moment is how many players want to play at one time. Between two moments their number
// changes evenly.
type Moment struct {
	At      time.Time `json:"at"`
	Players int       `json:"players"`
	Rooms   int       `json:"rooms,omitempty"`
	Down    []string  `json:"down,omitempty"` // zones that have failed: "a", "b" or "c"
}

// Trace is moments in the order of their times, two at least.
type Trace []Moment

// maxTrace bounds a trace: a month of minutes.
const maxTrace = 31 * 24 * 60

// ReadTrace reads moments, one JSON object a line. A line may also be a fleet.Snapshot,
// as they are recorded: then the players of that cluster are summed up.
func ReadTrace(r io.Reader, cluster string) (Trace, error) {
	var t Trace
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line struct {
			Moment
			Nodes []fleet.Node `json:"nodes"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, node := range line.Nodes {
			if node.Cluster == cluster {
				line.Players += node.Load.Connections
				line.Rooms += node.Load.Rooms
			}
		}
		t = append(t, line.Moment)
		if err := t.checkLast(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(t) < 2 {
		return nil, errors.New("a trace needs two moments at least")
	}
	return t, nil
}

func (t Trace) checkLast() error {
	last := t[len(t)-1]
	switch {
	case last.At.IsZero() || last.Players < 0 || last.Rooms < 0:
		return errors.New(`a moment needs "at" and "players"`)
	case len(t) > maxTrace:
		return fmt.Errorf("more than %d moments", maxTrace)
	case len(t) > 1 && !last.At.After(t[len(t)-2].At):
		return errors.New("it is not later than the line before")
	case last.At.Sub(t[0].At) > maxTrace*time.Minute:
		return fmt.Errorf("more than %d days behind the first", maxTrace/24/60)
	}
	return nil
}

// Write writes t as ReadTrace reads it.
func (t Trace) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	for i := range t {
		if err := enc.Encode(&t[i]); err != nil {
			return err
		}
	}
	return nil
}

// at is the moment at a time within the trace.
func (t Trace) at(when time.Time) Moment {
	i, _ := slices.BinarySearchFunc(t, when, func(m Moment, when time.Time) int { return m.At.Compare(when) })
	switch {
	case i == 0:
		return t[0]
	case i == len(t):
		return t[i-1]
	}
	a, b := t[i-1], t[i]
	if b.At.Equal(when) {
		return b
	}
	share := float64(when.Sub(a.At)) / float64(b.At.Sub(a.At))
	between := func(a, b int) int { return a + int(math.Round(share*float64(b-a))) }
	return Moment{when, between(a.Players, b.Players), between(a.Rooms, b.Rooms), a.Down}
}

// Day is what makes a trace of one day, minute by minute.
type Day struct {
	Start   time.Time // its first minute
	Seed    uint64    // of the noise: the same seed, the same day
	Players int       // at the peak of a usual evening
	Night   float64   // of those, who are there at five in the morning
	Peak    float64   // hour of the peak
	Noise   float64   // share by which minutes differ

	Release      float64       // hour of a release; 0: none
	ReleaseTimes float64       // how many times the usual number it draws
	ReleaseFade  time.Duration // until half of those have gone

	Fails    float64       // hour at which zone "b" fails; 0: never
	FailsFor time.Duration // until it is back

	RoomOf int // players of one room; 0: there are no rooms
}

// Trace is the day's.
func (d *Day) Trace() Trace {
	random := rand.New(rand.NewPCG(d.Seed, 0))
	t := make(Trace, 0, 24*60)
	noise := 0.0
	for minute := range 24 * 60 {
		hour := float64(minute) / 60
		noise = 0.9*noise + 0.1*d.Noise*random.NormFloat64()
		m := Moment{At: d.Start.Add(time.Duration(minute) * time.Minute)}
		m.Players = max(0, int(float64(d.Players)*d.usual(hour)*d.release(hour)*(1+noise)))
		if d.RoomOf > 0 {
			m.Rooms = m.Players / d.RoomOf
		}
		if d.Fails > 0 && hour >= d.Fails && hour < d.Fails+d.FailsFor.Hours() {
			m.Down = []string{"b"}
		}
		t = append(t, m)
	}
	return t
}

// usual is the share of the peak that is there at an hour of a usual day: it falls from
// the peak to the night, and rises slower than it falls.
func (d *Day) usual(hour float64) float64 {
	const low = 5 // o'clock
	up := math.Mod(d.Peak-low+24, 24)
	since := math.Mod(hour-low+24, 24)
	var phase float64 // 0 at the lowest, 1 at the peak
	if since < up {
		phase = since / up
	} else {
		phase = (24 - since) / (24 - up)
	}
	return d.Night + (1-d.Night)*(1-math.Cos(math.Pi*phase))/2
}

// release is how many times more players a release draws: within ten minutes, and then
// fewer.
func (d *Day) release(hour float64) float64 {
	since := (hour - d.Release) * 60
	if d.Release == 0 || since < 0 {
		return 1
	}
	rise := min(since/10, 1)
	return 1 + (d.ReleaseTimes-1)*rise*math.Pow(0.5, max(since-10, 0)/d.ReleaseFade.Minutes())
}
