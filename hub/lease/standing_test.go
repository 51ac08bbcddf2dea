package lease

import (
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// clocked is a standing on a clock that the test sets.
func clocked(isolation time.Duration) (s *Standing, at *int64) {
	s = NewStanding(Config{Isolation: isolation}, DefaultTiming(), quiet)
	now := int64(time.Hour)
	s.clock = func() int64 { return now }
	return s, &now
}

func TestStanding(t *testing.T) {
	s, now := clocked(20 * time.Second)
	silence := time.Duration(0)
	s.HearOf(func() time.Duration { return silence })
	want := func(want hub.Standing) {
		t.Helper()
		if got := s.Now(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
	want(hub.StandingGood) // no lease yet: nobody can have missed it
	if s.Seeking() {
		t.Error("seeks before it has a lease")
	}
	*now += int64(time.Hour)
	want(hub.StandingGood) // for as long as it takes

	mark := s.Mark()
	*now += int64(time.Second) // what the renewal takes counts
	s.Believed(mark)
	want(hub.StandingGood)
	*now += int64(2500 * time.Millisecond)
	if !s.Seeking() {
		t.Error("does not seek though half of the period has gone")
	}
	*now += int64(2400 * time.Millisecond)
	want(hub.StandingGood)
	*now += int64(200 * time.Millisecond)
	want(hub.StandingDoubt)

	s.Granted(mark, false) // an old mark is worth nothing
	want(hub.StandingDoubt)
	s.Granted(s.Mark()+uint64(time.Hour), false) // nor is one from the future
	want(hub.StandingDoubt)
	s.Granted(s.Mark(), false)
	want(hub.StandingGood)

	*now += int64(time.Hour) // pub/sub still brings messages back: data Redis may be away for all
	want(hub.StandingDoubt)
	silence = 21 * time.Second
	want(hub.StandingLost)
	s.Believed(s.Mark())
	want(hub.StandingLost) // for good
	if s.Lost() == "" || s.Seeking() {
		t.Error("a lost process says nothing, or seeks")
	}
}

func TestStandingOfTheDeclaredDead(t *testing.T) {
	for name, tell := range map[string]func(*Standing){
		"found by itself": (*Standing).Disown,
		"told":            func(s *Standing) { s.Granted(s.Mark(), true) },
	} {
		s, _ := clocked(0)
		s.Believed(s.Mark())
		tell(s)
		if s.Now() != hub.StandingLost {
			t.Errorf("%s: %v, want lost", name, s.Now())
		}
	}
}

func TestIsolationOff(t *testing.T) {
	s, now := clocked(0)
	s.Believed(s.Mark())
	*now += int64(24 * time.Hour)
	if s.Now() != hub.StandingDoubt {
		t.Errorf("%v, want doubt however long it lasts", s.Now())
	}
}

// TestBoottime: the clock of the system is in use and counts nanoseconds.
func TestBoottime(t *testing.T) {
	s := NewStanding(Config{}, DefaultTiming(), quiet)
	before := s.Mark()
	time.Sleep(20 * time.Millisecond)
	if d := time.Duration(s.Mark() - before); d < 20*time.Millisecond || d > 10*time.Second {
		t.Errorf("20 ms are %v on it", d)
	}
}
