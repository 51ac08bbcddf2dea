package clients

import (
	"context"
	"errors"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/homing/homing/hub"
)

// startApart connects 60 clients, of whom the last 40 are apart.
func startApart(t *testing.T, front *fakeFront, buffer int) *Hive {
	t.Helper()
	h := startHive(t, 4, 60)
	target := Target{Fronts: []string{front.url()}, Secret: testSecret, Conns: 60, Apart: 40, SlowBuffer: buffer}
	if c, err := h.Connect(t.Context(), target, nil); err != nil || c != (Counts{Open: 60}) {
		t.Fatalf("Connect = %+v, %v", c, err)
	}
	return h
}

func TestApartClientsAreNotExpectedToGetAnything(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startApart(t, front, 0)
	plan := Plan{Seed: 5, Conns: 60, Targets: 30, Online: 30}
	watched, apart := 0, 0
	var twice hub.UserID
	picker := NewPicker(plan)
	for n := range uint32(20) {
		for _, u := range picker.Online(n, nil) {
			switch {
			case u < 20:
				watched++
			case n == 7:
				continue // lost, and nobody minds
			default:
				apart++
				twice = User(int(u))
			}
			front.write(User(int(u)), front.notify(n))
		}
	}
	front.write(twice, front.notify(19))
	front.write(twice, front.notify(100)) // after the last one sent
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := h.Counts(t.Context()); err == nil && c.Deliveries == watched+apart+2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("deliveries do not come")
		}
	}
	v, err := h.Verify(t.Context(), plan, Sent{N: 20})
	if want := (Verdict{Expected: watched, Duplicated: 1, Stray: 1}); err != nil || v != want {
		t.Errorf("Verify = %+v, %v; want %+v", v, err, want)
	}
	if _, lag, err := h.Report(t.Context()); err != nil || lag.TotalCount() != int64(watched) {
		t.Errorf("%d latencies, want %d; %v", lag.TotalCount(), watched, err)
	}
}

// roughly treats clients by the last digit of their number when they come for
// the second time, and well otherwise.
func roughly(user string, visit int) treatment {
	n, _ := Number(user)
	if visit != 2 {
		return welcome
	}
	return map[int]treatment{1: busy, 2: broken, 3: cut, 4: restart, 5: elsewhere, 6: brief}[n%10]
}

func TestStormBringsEveryoneBack(t *testing.T) {
	front := startFront(t, Homing, roughly)
	h := startApart(t, front, 0)
	var seen Counts
	c, err := h.Storm(t.Context(), func(c Counts) { seen = c })
	if err != nil {
		t.Fatal(err)
	}
	// Of the 40, four were treated in each way.
	if c.Thrown != 40 || c.Back != 40 || c.Told != 12 || c.Failed != 12 || c.Wait.TotalCount() != 40 {
		t.Errorf("comeback = %+v, %d waits", c, c.Wait.TotalCount())
	}
	want := map[string]int{
		"handshake refused: 500 Internal Server Error": 4,
		"read: connection reset by peer":               4,
		"after hello: read: connection reset by peer":  4,
	}
	if !maps.Equal(c.Reasons, want) {
		t.Errorf("reasons = %v, want %v", c.Reasons, want)
	}
	if slowest := time.Duration(c.Wait.Max()) * time.Microsecond; c.Took < time.Second || slowest < c.Took*99/100 || slowest > c.Took*101/100 {
		t.Errorf("took %v, the slowest %v", c.Took, slowest)
	}
	if front.mu.Lock(); front.resets != 40 {
		t.Errorf("%d connections were reset, want 40", front.resets)
	}
	front.mu.Unlock()
	if seen != (Counts{Open: 40, Failed: 8, Lost: 4}) {
		t.Errorf("the last progress was %+v", seen)
	}
	if all, err := h.Counts(t.Context()); err != nil || all != (Counts{Open: 60, Failed: 8, Lost: 4}) {
		t.Errorf("Counts = %+v, %v", all, err)
	}
}

func TestStormIsWatchedMeanwhile(t *testing.T) {
	front := startFront(t, Homing, func(_ string, visit int) treatment {
		if visit == 2 {
			return restart
		}
		return welcome
	})
	h := startApart(t, front, 0)
	began, again := false, error(nil)
	_, err := h.Storm(t.Context(), func(Counts) {
		if began {
			return
		}
		began = true
		front.write(User(0), front.notify(1))
		waitDeliveries(t, h, 1) // while the others wait
		again = h.fault(t.Context(), "storm")
	})
	if err != nil || again == nil {
		t.Errorf("Storm: %v; a second one beside it: %v", err, again)
	}
	if c, err := h.Storm(t.Context(), nil); err != nil || c.Back != 40 || c.Told+c.Failed != 0 {
		t.Errorf("a second one after it: %+v, %v", c, err)
	}
}

func TestStormEndsWithItsContext(t *testing.T) {
	front := startFront(t, Homing, func(user string, visit int) treatment {
		if visit > 1 && user == "bee59" {
			return broken
		}
		return welcome
	})
	h := startApart(t, front, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := h.Storm(ctx, func(c Counts) {
		if c.Open == 39 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || c.Thrown != 40 || c.Back != 39 || c.Failed == 0 {
		t.Errorf("comeback = %+v, %v", c, err)
	}
	if all, err := h.Counts(t.Context()); err != nil || all.Open != 59 {
		t.Errorf("Counts = %+v, %v", all, err)
	}
}

func TestStormToldWhoIsNotBack(t *testing.T) {
	front := startFront(t, Homing, func(user string, visit int) treatment {
		if visit > 1 && user == "bee1" {
			return broken
		}
		return welcome
	})
	e := startEngine(t, front, 3)
	s := newStorm(e)
	e.storm = s
	runUntil(t, e, func() bool { return s.sum.Back == 2 && s.sum.Failed == 1 })
	s.began = s.began.Add(-stormPatience)
	runUntil(t, e, func() bool { return s.over })
	c, err := s.report()
	if err != nil || !c.Over || c.Thrown != 3 || c.Back != 2 || c.Counts.Open != 2 {
		t.Errorf("comeback = %+v, %v", c, err)
	}
}

func TestStormGivesUpHandshakesThatHang(t *testing.T) {
	front := startFront(t, Homing, nil)
	e := startEngine(t, front, 2)
	deaf, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	fronts := e.swarm.Fronts
	addr := deaf.Addr().(*net.TCPAddr).AddrPort()
	e.swarm.Fronts = append(fronts[:0:0], addr)
	s := newStorm(e)
	e.storm = s
	runUntil(t, e, func() bool { return e.bees[0].state == upgrading && e.bees[1].state == upgrading })
	e.swarm.Fronts = fronts
	s.began = s.began.Add(-patience)
	runUntil(t, e, func() bool { return s.over })
	if s.sum.Back != 2 || s.sum.Reasons[errNoHello.Error()] != 2 {
		t.Errorf("comeback = %+v", s.sum)
	}
}

// startEngine connects an engine of this process.
func startEngine(t *testing.T, front *fakeFront, conns int) *engine {
	t.Helper()
	fronts, path, err := resolve([]string{front.url()})
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEngine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	if err := e.prepare(swarm{Fronts: fronts, Path: path, Secret: testSecret, Count: conns}); err != nil {
		t.Fatal(err)
	}
	for i := range conns {
		e.dial(i)
	}
	runUntil(t, e, func() bool { return e.count.Open == conns })
	return e
}

func runUntil(t *testing.T, e *engine, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); {
		if err := e.turn(time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if e.storm != nil {
			e.storm.step()
		}
		if time.Now().After(deadline) {
			t.Fatalf("not done: %+v, %s", e.count, e.failed)
		}
	}
}

func TestStallFillsTheKernelsBuffers(t *testing.T) {
	front := startFront(t, Homing, nil)
	h := startApart(t, front, 4096)
	if err := h.Stall(t.Context()); err != nil {
		t.Fatal(err)
	}
	const most = 8 << 20
	if n := fill(front, User(59), most); n == most {
		t.Error("a stalled client still reads")
	}
	if n := fill(front, User(0), most); n < most {
		t.Errorf("a watched client took %d bytes", n)
	}
	front.conn(User(58)).Close()
	front.write(User(0), front.notify(2))
	c, err := h.Counts(t.Context())
	if err != nil || c.Open != 60 || c.Lost != 0 {
		t.Errorf("Counts = %+v, %v", c, err)
	}
}

// fill writes to a client until it takes no more for a while, or most bytes.
func fill(f *fakeFront, user hub.UserID, most int) (written int) {
	c, text := f.conn(user), f.notify(1)
	_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
	for written < most {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := c.Write(text)
		if written += n; err != nil {
			return written
		}
	}
	return most
}

func TestClosedTellsWhenToComeBack(t *testing.T) {
	for code, want := range map[uint16]time.Duration{1012: restartPause, 1013: laterPause, 1001: 0} {
		err := closed([]byte{byte(code >> 8), byte(code), 'x'})
		var wait time.Duration
		if told, ok := errors.AsType[*waitError](err); ok {
			wait = told.wait
		}
		if wait != want {
			t.Errorf("%d: %v, want to wait %v", code, err, want)
		}
	}
}
