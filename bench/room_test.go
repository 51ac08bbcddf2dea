package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/homing/homing/bench/arena"
	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/peers"
	"github.com/homing/homing/bench/rig"
	"github.com/homing/homing/bench/usage"
)

// playOptions are for a small game.
func playOptions(t *testing.T) Options {
	t.Helper()
	o := defaults(t)
	o.Size, o.Players, o.Seconds, o.Workers, o.Bees, o.Replicas = 4, 40, 2, 2, 2, 0
	return o
}

// TestRoomPeersPlay has a few players play at each peer.
func TestRoomPeersPlay(t *testing.T) {
	for _, name := range peers.RoomNames() {
		t.Run(name, func(t *testing.T) {
			r := newRun("room", playOptions(t), t.Output())
			if err := peers.Prepare(t.Context(), name, "", t.Output()); err != nil {
				t.Fatal(err)
			}
			p, err := r.playAt(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			checkPlay(t, p)
		})
	}
}

// TestDefaultPlayers has fewer players where a peer must keep up with them.
func TestDefaultPlayers(t *testing.T) {
	if alone, beside := defaultPlayers(1), defaultPlayers(2); alone != 1200 || beside != 400 {
		t.Errorf("%d alone, %d beside another", alone, beside)
	}
}

// TestRoom plays a small game at a real stack in every way.
func TestRoom(t *testing.T) {
	o := playOptions(t)
	o.Binary, o.NoGather = small(t).Binary, true
	flat := runJSON(t, "room", o)
	want(t, flat, "players_per_core", "front_us_per_message", "p50_ms", "p99_ms", "echo_p50_ms",
		"no_gather_players_per_core", "no_gather_echo_p50_ms")
	if _, ok := flat["no_gather_p99_ms"]; ok {
		t.Errorf("frames that have no tick are late: %v", flat)
	}
	if flat["players"] != 40 || flat["players_lost"]+flat["refused"] != 0 {
		t.Errorf("room: %v", flat)
	}
	if _, ok := flat["lost"]; !ok || flat["no_gather_frames_per_s"] < 2*flat["frames_per_s"] {
		t.Errorf("%v frames a second gathered, %v not: four players say something in a tick", flat["frames_per_s"], flat["no_gather_frames_per_s"])
	}
	o.NoGather, o.BinaryFrames, o.Seconds = false, true, 1
	if binary := runJSON(t, "room", o); binary["bytes_per_frame"] >= flat["bytes_per_frame"] || binary["players_lost"]+binary["refused"] != 0 {
		t.Errorf("in bytes: %v", binary)
	}
}

// checkPlay fails unless a small game went as it should. How late frames are and
// whether ticks were missed says little on a machine that does other things.
func checkPlay(t *testing.T, p play) {
	t.Helper()
	g := p.game
	if g.Entered != 40 || g.Players != 40 || g.Lost+g.Failed+g.Violations+g.Refused != 0 {
		t.Errorf("the game: %+v", g.Counts)
	}
	if n := g.PerPlayer(); n < 15 || n > 21 {
		t.Errorf("%.1f frames a second for each player, want 20", n)
	}
	if n := g.Echo.TotalCount(); int(n) < g.Frames/20 {
		t.Errorf("%d echoes of %d frames", n, g.Frames)
	}
	if e := g.EchoMs(50); e < 5 || e > 100 {
		t.Errorf("the median echo takes %.1f ms, half a tick is 25", e)
	}
	for _, row := range playRows() {
		switch v := row.value(&p); row.figure {
		case "lost", "players_lost", "refused", "kib_per_player":
		default:
			if !(v > 0) {
				t.Errorf("%s: %v", row.figure, v)
			}
		}
	}
}

// TestPlaysAreReported: a table, the figures by name, and what weighs on them.
func TestPlaysAreReported(t *testing.T) {
	times := func(micros int64) *hdrhistogram.Histogram {
		h := hdrhistogram.New(1, 1_000_000, 3)
		_ = h.RecordValue(micros)
		return h
	}
	game := func(skipped int) arena.Game {
		return arena.Game{
			Entered: 40, Hz: 20,
			Report: crowd.Report{
				Counts: crowd.Counts{Players: 40, Frames: 4000, Sent: 4000, Bytes: 400_000, Skipped: skipped}, Took: 5 * time.Second,
				Late: times(4000), Echo: times(25_000), Behind: times(20_000),
			},
			Used: usage.Interval{Groups: map[string]usage.Used{rig.Front: {CPU: 50 * time.Millisecond, Cores: 0.01}}},
		}
	}
	all := []play{
		{name: homingName, after: 40 << 10, game: game(0), peak: &arena.Peak{Best: game(0), Share: game(0)}},
		{name: noGatherName, game: game(0)},
		{name: "colyseus", after: 40 << 12, game: game(400), peak: &arena.Peak{Best: game(0), Share: game(0)}},
	}
	o := playOptions(t)
	o.Peak = true
	r := newRun("room", o, t.Output())
	r.addPlays(all)
	all[0].addTo(r, "")
	all[1].addTo(r, "no_gather_")
	all[2].addTo(r, "colyseus_")
	for name, want := range map[string]float64{
		"players_per_core": 4000, "p99_ms": 4, "echo_p50_ms": 25, "lost": 0, "ticks_kept": 1, "kib_per_player": 1, "frames_per_s_per_player": 20,
		"bytes_per_frame": 100, "front_us_per_message": 12.5, "peak_players": 40, "share_p99_ms": 4,
		"colyseus_lost": 400, "colyseus_kib_per_player": 4, "colyseus_peak_players_per_core": 4000,
	} {
		if got := r.Get(name); !(got > 0.99*want-0.001 && got < 1.01*want+0.001) {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if len(r.Tables) != 1 || len(r.Tables[0].Columns) != 4 || len(r.Tables[0].Rows) != len(playRows())+len(peakRows()) || len(r.Charts) != 1 {
		t.Errorf("%d tables, %d charts: %+v", len(r.Tables), len(r.Charts), r.Tables)
	}
	if v := r.Get("no_gather_peak_players"); !math.IsNaN(v) || r.Tables[0].Rows[len(playRows())][2] != "-" {
		t.Errorf("the peak of a system without one: %v, %q", v, r.Tables[0].Rows[len(playRows())])
	}
	notes := strings.Join(r.Notes, "\n")
	if !strings.Contains(notes, "colyseus does not keep its ticks") || strings.Contains(notes, "homing does not") || !strings.Contains(notes, "up to 20.0 ms late") {
		t.Errorf("notes: %s", notes)
	}
}
