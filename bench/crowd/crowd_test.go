package crowd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is its own process with players when the variable is set.
const asCrowd = "HOMING_TEST_CROWD"

func TestMain(m *testing.M) {
	if os.Getenv(asCrowd) != "" {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func startParty(t *testing.T, processes int) *Party {
	t.Helper()
	p, err := Start([]string{os.Args[0]}, []string{asCrowd + "=1"}, processes, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// game has players play in a hall for a while.
func game(t *testing.T, p *Party, d Dialect, hz int, seats []Seat, rate float64, long time.Duration, f func()) Report {
	t.Helper()
	if err := p.Enter(t.Context(), d, hz, seats); err != nil {
		t.Fatal(err)
	}
	if err := p.Play(t.Context(), rate); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := p.Mark(t.Context()); err != nil {
		t.Fatal(err)
	}
	f()
	time.Sleep(long)
	r, err := p.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPlayersCountFrames(t *testing.T) {
	for _, d := range []Dialect{Homing, HomingBinary} {
		t.Run(string(d), func(t *testing.T) {
			const hz, members, rate = 20, 6, 40
			h := startHall(t, hz, members, d == HomingBinary)
			p := startParty(t, 2)
			r := game(t, p, d, hz, h.seats(members), rate, time.Second, func() {})
			if r.Players != members || r.Failed+r.Lost+r.Violations+r.Refused+r.Unsent+r.Again != 0 {
				t.Fatalf("report %+v", r.Counts)
			}
			near(t, "frames", r.Frames, members*hz, r.Took)
			near(t, "sent", r.Sent, members*rate, r.Took)
			if r.Bytes < r.Frames*40 && d == Homing {
				t.Errorf("%d bytes in %d frames", r.Bytes, r.Frames)
			}
			if n := int(r.Late.TotalCount()); n != r.Frames {
				t.Errorf("%d frames are on time or late, of %d", n, r.Frames)
			}
			if n := int(r.Echo.TotalCount()); n < r.Frames/echoOneIn/2 {
				t.Errorf("%d echoes of %d frames", n, r.Frames)
			}
			// An echo waits for its tick, half of one in the mean.
			if mean := r.Echo.Mean(); mean < 5_000 || mean > 120_000 {
				t.Errorf("the mean echo takes %.0f µs, a tick is 50,000", mean)
			}
			if st := h.stats(); st.Refused > 0 || st.Messages == 0 {
				t.Errorf("the room has seen %+v", st)
			}
		})
	}
}

// near fails unless n is about what so many a second make. Machines that do other
// things are slow, so that it may be less by some.
func near(t *testing.T, what string, n, perSecond int, took time.Duration) {
	t.Helper()
	want := float64(perSecond) * took.Seconds()
	if float64(n) > 1.15*want || float64(n) < 0.6*want {
		t.Errorf("%s: %d in %v, want about %.0f", what, n, took, want)
	}
}

// TestLateTicksAreSeen: a tick that is late by a known time, and the ticks that
// were left out meanwhile.
func TestLateTicksAreSeen(t *testing.T) {
	const hz, members = 20, 4
	h := startHall(t, hz, members, false)
	p := startParty(t, 1)
	const pause = 230 * time.Millisecond // the tick comes with the number of the last one due: 4 are left out
	r := game(t, p, Homing, hz, h.seats(members), 20, time.Second, func() { h.stall(pause) })
	if r.Skipped < 4*members {
		t.Errorf("%d ticks were missed, want at least %d", r.Skipped, 4*members)
	}
	if r.Late.Max() < 25_000 { // 230 ms are four ticks and 30 ms
		t.Errorf("the latest frame came after %d µs", r.Late.Max())
	}
	if h.stats().Skipped == 0 {
		t.Error("the room has not left a tick out")
	}
}

func TestRefusedPlayersAreTold(t *testing.T) {
	h := startHall(t, 20, 2, false)
	p := startParty(t, 1)
	h.refuse = `{"t":"error","of":"join","code":"ticket_expired","ref":1}`
	if err := p.Enter(t.Context(), Homing, 20, h.seats(2)); err == nil || !strings.Contains(err.Error(), "ticket_expired") {
		t.Errorf("error = %v", err)
	}
	if err := p.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	elsewhere := h.seats(1)
	elsewhere[0].Path = "/nowhere"
	if err := p.Enter(t.Context(), Homing, 20, elsewhere); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error = %v", err)
	}
	if err := p.Enter(t.Context(), "klingon", 20, nil); err == nil {
		t.Error("an unknown dialect is spoken")
	}
	if err := p.Enter(t.Context(), Homing, 0, nil); err == nil {
		t.Error("a room without ticks is entered")
	}
}

// TestPlayersGoWhereTheirRoomIs, also when it has moved on since, but not for ever.
func TestPlayersGoWhereTheirRoomIs(t *testing.T) {
	const members = 3
	h := startHall(t, 20, members, false)
	h.moved = 4
	p := startParty(t, 1)
	r := game(t, p, Homing, 20, h.seats(members), 20, 300*time.Millisecond, func() {})
	if r.Players != members || r.Failed+r.Lost+r.Violations != 0 || r.Frames == 0 {
		t.Errorf("report %+v", r.Counts)
	}
	if err := p.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.moved = 1000
	h.mu.Unlock()
	if err := p.Enter(t.Context(), Homing, 20, h.seats(1)); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), errMoved.Error()) {
		t.Errorf("error = %v", err)
	}
}

func TestFollowedSeats(t *testing.T) {
	s := Seat{Path: "/ws?room=old&token=t%2B1", Room: 4, Number: 2}
	got, err := s.followed([]byte(`{"t":"moved","url":"ws://127.0.0.1:81/ws","ticket":"new+"}`))
	if err != nil || got.Addr.String() != "127.0.0.1:81" || got.Path != "/ws?room=new%2B&token=t%2B1" || got.Login != `{"t":"join","ticket":"new+","ref":1}` || got.Room != 4 || got.Number != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{`{`, `{"url":"ws://host/ws"}`, `{"url":":"}`} {
		if got, err := s.followed([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, got)
		}
	}
}

// TestTheRestIsCounted: what a server refuses and what it should not have said,
// and connections that it ends.
func TestTheRestIsCounted(t *testing.T) {
	const hz, members = 20, 3
	h := startHall(t, hz, members, false)
	p := startParty(t, 1)
	r := game(t, p, Homing, hz, h.seats(members), 400, time.Second, func() { // six times the class's rate
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bad = []byte(`{"t":"nonsense"}`)
	})
	if r.Refused == 0 || r.Violations < members {
		t.Errorf("report %+v", r.Counts)
	}
	h.mu.Lock()
	for _, c := range h.conns {
		c.Close()
	}
	h.mu.Unlock()
	deadline := time.Now().Add(5 * time.Second)
	for r.Lost < members && time.Now().Before(deadline) {
		var err error
		if r, err = p.Report(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	why, _, _ := strings.Cut(r.Why, ":") // whichever finds it first
	if r.Players != 0 || r.Lost != members || why != "read" && why != "send" {
		t.Errorf("after the end: %+v, %q", r.Counts, r.Why)
	}
}
