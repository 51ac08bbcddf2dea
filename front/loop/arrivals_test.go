package loop

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/front/arrival"
)

// TestWhoIsPendingIsNotCountedAsRoom has the kernel refuse descriptors while most
// are taken by connections that are pending.
func TestWhoIsPendingIsNotCountedAsRoom(t *testing.T) {
	r := start(t, func(cfg *Config, _ *lines) { cfg.HandshakeTimeout = time.Minute })
	served := r.dial()
	r.say(served, "x", 2)
	r.on(func() { r.TakeIn(r.only(), 0) })
	const idle = 79
	for range idle {
		r.dial()
	}
	wait(t, "connections that say nothing", func() bool { return r.metric("homing_front_pending_connections") == idle })
	r.on(func() {
		r.acceptFailed(unix.EMFILE)
		if l := r.listeners.limit; l.high != 57 || l.pending != 19 { // of 95% of 80
			t.Errorf("%d connections in service and %d others may be open, want 57 and 19", l.high, l.pending)
		}
	})
	if n := r.metric("homing_front_turned_away_total"); n != idle-19 {
		t.Errorf("%v turned away, want %d", n, idle-19)
	}
	wait(t, "the listeners to open again", func() bool { return r.metric("homing_front_relistens_total") == 1 })
	r.say(r.dial(), "y", 2)
	r.say(served, "z", 2)
}

// The log names an address that is turned away, but not each time: an operator
// has to learn of a proxy that is not named, and somebody else chooses how often.
func TestTheLogNamesAnAddressThatIsTurnedAway(t *testing.T) {
	var log bytes.Buffer
	results := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "results"}, []string{"result"})
	a := &arrivals[text]{core: &core[text]{log: slog.New(slog.NewTextHandler(&log, nil)), m: newMetrics(prometheus.NewRegistry(), results)}}
	from := netip.MustParseAddr("192.0.2.1")
	for range 100 {
		a.turnAway(from, arrival.AddressRate)
	}
	a.now += complaints
	a.turnAway(from, arrival.AddressRate)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "192.0.2.1") || !strings.Contains(lines[1], "connections=100") {
		t.Errorf("%d lines: %s", len(lines), log.String())
	}
}
