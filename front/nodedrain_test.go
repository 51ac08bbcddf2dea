package front

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/fleet"
)

// TestPaceHoldsHoweverTurnsFall plays a minute of ticks that come when they will.
func TestPaceHoldsHoweverTurnsFall(t *testing.T) {
	for _, rate := range []float64{0.03, 0.7, 5, 333} { // per tick
		p, told, now := pace{until: 1}, 0, loop.Tick(1)
		for now < 600 {
			now += 1 + loop.Tick(rand.IntN(int(loop.TicksPerSecond)))
			p.refill(now, rate)
			for ; p.owed >= 1; p.owed-- {
				told++
			}
		}
		if want := rate * float64(now); float64(told) > want*1.1+1 || float64(told) < want*0.9-1 {
			t.Errorf("at %v per tick: %d in %d ticks, want %.0f", rate, told, now, want)
		}
	}
	p := pace{until: 1}
	p.refill(1000, 5)
	if p.owed > 51 {
		t.Errorf("a loop that stood still for 100 s owes %v, want a second's worth", p.owed)
	}
}

func TestTargetsAreDrawnByWeight(t *testing.T) {
	var f farewells
	if to := f.draw(); to != "" {
		t.Errorf("without targets: %q", to)
	}
	f.aim([]fleet.Target{{Endpoint: "a:1", Free: 3000}, {Endpoint: "full:1", Free: 0}, {Endpoint: "b:1", Free: 1000}, {Endpoint: "", Free: 9}, {Endpoint: "bad:1", Free: -5}})
	got := map[string]int{}
	for range 4000 {
		got[f.draw()]++
	}
	if len(got) != 2 || got["a:1"] < 2800 || got["a:1"] > 3200 {
		t.Errorf("drawn: %v", got)
	}
}

// draining has r drain by an order, with others beside it.
func (r *rig) draining(d fleet.Drain, targets ...fleet.Target) {
	r.t.Helper()
	if d.Deadline.IsZero() {
		d.Deadline = time.Now().Add(time.Minute)
	}
	r.Order(fleet.Orders{Drain: &d, Share: 1, Targets: targets})
	wait(r.t, "the drain to begin", func() bool { _, p := r.Load(); return p.ID == d.ID })
}

// settled waits until all who have come may be told.
func settled() { time.Sleep(time.Duration(settleIn+1) * loop.TickLength) }

func told(r *rig) float64 {
	return r.metric("homing_front_drained_connections_total", "how", "told")
}

func TestOrderedDrainSendsToTargets(t *testing.T) {
	r := start(t, nil)
	var all []*peer
	for i := range 20 {
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	settled()
	r.draining(fleet.Drain{ID: "d1", Rate: 1000}, fleet.Target{Endpoint: "other.example:7000", Free: 5})
	for _, c := range all {
		m := c.json()
		if after, ok := m["after_ms"].(float64); m["t"] != "reconnect" || m["to"] != "other.example:7000" || !ok || after < 0 || after >= 1000 {
			t.Fatalf("told %v", m)
		}
	}
	for _, c := range all {
		c.wantClose(1012)
		_ = c.Close()
	}
	wait(t, "all to be gone", func() bool { l, p := r.Load(); return l.Connections == 0 && p.Left == 0 })
	if _, p := r.Load(); p != (fleet.Progress{ID: "d1", Told: 20}) || told(r) != 20 {
		t.Errorf("progress %+v, %v counted", p, told(r))
	}
}

func TestOrderedDrainIsCancelled(t *testing.T) {
	r := start(t, nil)
	for i := range 60 {
		r.join(fmt.Sprint("user", i))
	}
	settled()
	r.draining(fleet.Drain{ID: "d1", Rate: 20})
	wait(t, "some to be told", func() bool { return told(r) >= 5 })
	r.Order(fleet.Orders{})
	wait(t, "the drain to end", func() bool { _, p := r.Load(); return p.ID == "" })
	n := told(r)
	wait(t, "those who were told to go", func() bool { l, _ := r.Load(); return l.Connections == 60-int(n) })
	time.Sleep(500 * time.Millisecond)
	if l, _ := r.Load(); told(r) != n || l.Connections != 60-int(n) || n > 40 {
		t.Errorf("told %v then %v, %d are left", n, told(r), l.Connections)
	}
	r.join("new")
	r.draining(fleet.Drain{ID: "d2", Rate: 1000}) // replaces what is over
	wait(t, "the rest to be gone", func() bool { l, _ := r.Load(); return l.Connections == 0 })
	if _, p := r.Load(); p.Told != 61-int(n) {
		t.Errorf("progress %+v", p)
	}
}

func TestNobodyIsLetInWhileDraining(t *testing.T) {
	process := hub.NewProcessID()
	r := startDeps(t, func(d *Deps) {
		d.Process, d.Rooms, d.Inbox = process, fakeRooms{make(chan struct{})}, &fakeInbox{}
	}, nil)
	r.draining(fleet.Drain{ID: "d1"})
	for _, request := range []string{
		"GET /ws?token=ann HTTP/1.1\r\n" + upgradeHead,
		"GET /ws?token=ann&room=ended HTTP/1.1\r\n" + upgradeHead,
		"GET /events?token=ann HTTP/1.1\r\nHost: x\r\n",
		"GET /inbox?token=ann HTTP/1.1\r\nHost: x\r\n",
		"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n" + upgradeHead,
		"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n",
		"GET /readyz HTTP/1.1\r\nHost: x\r\n",
	} {
		reply, body := r.raw(request + "\r\n")
		after, err := strconv.Atoi(reply.Header.Get("Retry-After"))
		if reply.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"draining"`) || err != nil || after < 1 {
			t.Errorf("%q: %d %v %s", request, reply.StatusCode, reply.Header, body)
		}
	}
	if n := r.metric("homing_front_handshakes_total", "result", "draining"); n != 6 {
		t.Errorf("%v refusals counted, want 6", n)
	}
	if status, _ := r.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); status.StatusCode != 200 {
		t.Errorf("healthz: %d", status.StatusCode)
	}
	r.join("ann&room=" + string(process)) // whose room is here
	r.Order(fleet.Orders{})
	wait(t, "the drain to end", func() bool { _, p := r.Load(); return p.ID == "" })
	r.join("bob")
}

func TestAtTheDeadlineTheRestIsClosed(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = 2 * time.Second })
	var all []*peer
	for i := range 10 {
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	r.draining(fleet.Drain{ID: "d1", Rate: 1, Deadline: time.Now().Add(time.Second)}, fleet.Target{Endpoint: "b:1", Free: 1})
	for _, c := range all {
		m := c.json()
		if after, _ := m["after_ms"].(float64); m["t"] != "reconnect" || m["to"] != "b:1" || after > 2000 {
			t.Errorf("told %v", m)
		}
		if code, reason := c.closed(); code != 1012 || reason != drainDeadline {
			t.Errorf("closed with %d %s", code, reason)
		}
	}
	if n := r.metric("homing_front_drained_connections_total", "how", drainDeadline); n != 10 {
		t.Errorf("%v counted", n)
	}
}

func TestEvenlyUntilTheDeadline(t *testing.T) {
	r := start(t, nil)
	for i := range 50 {
		r.join(fmt.Sprint("user", i))
	}
	settled()
	r.draining(fleet.Drain{ID: "d1", Deadline: time.Now().Add(4 * time.Second)})
	wait(t, "all to be gone", func() bool { l, _ := r.Load(); return l.Connections == 0 })
	if told(r) != 50 || r.metric("homing_front_drained_connections_total", "how", drainDeadline) != 0 {
		t.Errorf("%v told", told(r))
	}
}

// TestMembersAreToldAfterTheirRoom has a player stay while the room is here.
func TestMembersAreToldAfterTheirRoom(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	var gone atomic.Bool
	r.Post(func() { r.node.plays = func(*conn) bool { return !gone.Load() } })
	settled()
	r.draining(fleet.Drain{ID: "d1", Rate: 1000})
	c.quiet(500 * time.Millisecond)
	gone.Store(true)
	wantMessage(t, c, map[string]any{"t": "reconnect"})
	c.wantClose(1012)
}

func TestAnOrderWithoutADeadlineIsNotObeyed(t *testing.T) {
	r := start(t, nil)
	c := r.join("ann")
	settled()
	r.Order(fleet.Orders{Drain: &fleet.Drain{ID: "d1", Rate: 1000}, Share: 1})
	c.quiet(500 * time.Millisecond)
	if _, p := r.Load(); p.ID != "" {
		t.Errorf("progress %+v", p)
	}
}

func TestAStopIsADrainOfItsOwnName(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = time.Minute })
	for i := range 5 {
		r.join(fmt.Sprint("user", i))
	}
	r.draining(fleet.Drain{ID: "d1", Rate: 1}, fleet.Target{Endpoint: "b:1", Free: 1})
	r.Drain()
	want := fleet.Progress{ID: Stopping, Told: 5, Left: 5}
	wait(t, "the stop to be told", func() bool { _, p := r.Load(); return p == want })
}
