package roomclass

import (
	"strings"
	"testing"
	"time"

	"github.com/homing/homing/hub/room"
)

func TestNames(t *testing.T) {
	for _, binary := range []bool{false, true} {
		for _, immediate := range []bool{false, true} {
			name := Name(20, 60, binary, immediate)
			c, err := Parse(name)
			if err != nil || c.Name != name || c.Seats != 20 || c.Hz != 60 || c.Binary != binary || c.Immediate != immediate {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
	}
	for _, bad := range []string{"relay", "bench-20", "bench-0-20", "bench-20-61", "bench-257-20", "bench-20-20-x"} {
		if c, err := Parse(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %+v, %v", bad, c, err)
		}
	}
}

// outlet keeps the last frame.
type outlet struct{ frame string }

func (o *outlet) Frame(_ int, frame []byte)                     { o.frame = string(frame) }
func (*outlet) Left(int, room.Member, room.LeaveReason, string) {}
func (*outlet) Ended(room.EndReason, []byte)                    {}

// TestEveryTickHasAFrame, with where a member is when it has said so.
func TestEveryTickHasAFrame(t *testing.T) {
	c, err := Parse(Name(2, 20, false, false))
	if err != nil {
		t.Fatal(err)
	}
	var o outlet
	r := room.New("r", c, 1, &o, 0)
	if _, err := r.Reserve("ann", 0); err != nil {
		t.Fatal(err)
	}
	seat, generation, err := r.Join("ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	for tick, want := range []string{``, `{"t":"frame","tick":2,"state":{"t":0}}`, `{"t":"frame","tick":3,"state":{"ann":{"x":1,"y":2},"t":0}}`} {
		if tick == 2 {
			if err := r.Message(seat, generation, []byte(`{"x":1,"y":2}`), r.Due()); err != nil {
				t.Fatal(err)
			}
		}
		o.frame = ""
		r.Tick(r.Due() + time.Millisecond)
		if o.frame == "" || want != "" && o.frame != want {
			t.Errorf("tick %d: %s, want %s", tick+1, o.frame, want)
		}
	}
}
