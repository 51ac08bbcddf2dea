package front

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDrainTellsClosesAndLeavesTheIndexClean(t *testing.T) {
	r := start(t, func(c *Config) { c.DrainWindow = 500 * time.Millisecond })
	var all []*peer
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
	const limit = 40
	r := start(t, func(c *Config) {
		used, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		c.Pending = 1
		c.MaxDescriptors = (limit + len(used) + 2) * 20 / 19
	})
	var all []*peer
	for i := 0; r.metric("homing_front_unlistens_total") == 0; i++ {
		if i == limit+10 {
			t.Fatalf("the listener is open with %d connections, want about %d", i, limit)
		}
		all = append(all, r.join(fmt.Sprint("user", i)))
	}
	if len(all) < limit-5 {
		t.Fatalf("the listener closed at %d connections, want about %d", len(all), limit)
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
