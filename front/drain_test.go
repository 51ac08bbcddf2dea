package front

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDrainTellsClosesAndLeavesTheIndexClean(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = 500 * time.Millisecond })
	var all []*client
	for i := range 40 {
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	began := time.Now()
	go func() { _ = r.stop() }()
	early, late := 0, 0
	for _, c := range all {
		m := c.json()
		after, ok := m["after_ms"].(float64)
		if m["t"] != "reconnect" || !ok || after < 0 || after >= 500 {
			t.Fatalf("told %v", m)
		}
		if after < 250 {
			early++
		} else {
			late++
		}
	}
	for _, c := range all {
		c.wantClose(1012)
		_ = c.Close()
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if early == 0 || late == 0 {
		t.Errorf("%d told to come in the first half of the window, %d in the second", early, late)
	}
	if n := r.presence.count(); n != 0 {
		t.Errorf("the index still names %d users", n)
	}
	if _, err := net.Dial("tcp", r.addr); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial after the stop: %v", err)
	}
}

func TestDrainDeliversWhatWaits(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer, c.DrainTimeout = 4096, 5*time.Second })
	c := stuck(r, "ann")
	const n = 100
	for i := range n {
		r.deliver(classNote(0, "", i, "ann"))
	}
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == n })
	go func() { _ = r.stop() }()
	for i := range n {
		if id := c.json()["id"]; id != strconv.Itoa(i) {
			t.Fatalf("message %v in the place of %d", id, i)
		}
	}
	c.wantClose(1012)
}

func TestDrainEndsThoughNobodyReads(t *testing.T) {
	r := start(t, func(c *Config) { c.SendBuffer, c.DrainTimeout = 4096, 300*time.Millisecond })
	stuck(r, "ann")
	for i := range 100 {
		r.deliver(classNote(0, "", i, "ann"))
	}
	wait(t, "delivery", func() bool { return r.metric("homing_front_targets_total") == 100 })
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if n := r.presence.count(); n != 0 {
		t.Errorf("the index still names %d users", n)
	}
	if r.dropped("connection_closed", "must") == 0 {
		t.Error("what was cut off was not counted")
	}
}

func TestConnectionThatArrivesDuringDrain(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow, c.DrainTimeout = time.Second, time.Second })
	r.join("ann")
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "both accepted", func() bool { return r.metric("homing_front_accepted_connections_total") == 2 })
	go func() { _ = r.stop() }()
	wait(t, "the listener to close", func() bool {
		probe, err := net.Dial("tcp", r.addr)
		if err == nil {
			_ = probe.Close()
		}
		return err != nil
	})
	if _, err := io.WriteString(conn, "GET /ws?token=bob HTTP/1.1\r\n"+upgradeHead+"\r\n"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn, nil)
	c.skipReply()
	if got := fmt.Sprint(c.json()["t"], c.json()["t"]); got != "helloreconnect" {
		t.Errorf("got %s", got)
	}
	c.wantClose(1012)
}

func TestDescriptorLimitClosesTheListener(t *testing.T) {
	var limit int
	r := start(t, func(c *Config) {
		g, err := newGate(1<<20, 1)
		if err != nil {
			t.Fatal(err)
		}
		used := 1<<20 - (1<<20)/20 - g.high - 1
		c.Pending = 1
		limit = 40
		c.MaxDescriptors = (limit + used + 2) * 20 / 19
	})
	high := r.gate.high
	if high < limit-5 || high > limit+10 {
		t.Fatalf("the gate closes at %d connections, want about %d", high, limit)
	}
	var all []*client
	for i := range high {
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	wait(t, "the listener to close", func() bool { return r.metric("homing_front_unlistens_total") == 1 })
	if _, err := net.Dial("tcp", r.addr); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial a full worker: %v, want that the kernel refuses", err)
	}
	for _, c := range all[:5] {
		_ = c.Close()
	}
	wait(t, "the listener to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.join("late")
	all[len(all)-1].quiet(10 * time.Millisecond)
}

// TestWhoShowsNoTokenIsNotCountedAsRoom has the kernel refuse descriptors while
// most are taken by connections that have shown no token.
func TestWhoShowsNoTokenIsNotCountedAsRoom(t *testing.T) {
	r := start(t, func(c *Config) { c.HandshakeTimeout = time.Minute })
	ann := r.join("ann")
	const idle = 79
	for range idle {
		r.dialFrom("127.0.0.1")
	}
	wait(t, "connections that say nothing", func() bool { return r.metric("homing_front_pending_connections") == idle })
	lowered := make(chan gate, 1)
	r.Post(func() {
		r.acceptFailed(unix.EMFILE)
		lowered <- r.gate
	})
	if g := <-lowered; g.high != 57 || g.pending != 19 { // of 95% of 80
		t.Errorf("%d connections in service and %d others may be open, want 57 and 19", g.high, g.pending)
	}
	if n := r.metric("homing_front_turned_away_total", "reason", "pending"); n != idle-19 {
		t.Errorf("%v turned away, want %d", n, idle-19)
	}
	wait(t, "the listeners to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.join("bob")
	r.deliver(note(`1`, "ann"))
	if m := ann.json(); m["t"] != "notify" {
		t.Errorf("got %v", m)
	}
}
