package bench

import (
	"testing"

	"github.com/homing/homing/bench/peers"
)

// playOptions are for a small game.
func playOptions(t *testing.T) Options {
	t.Helper()
	o := defaults(t)
	o.Size, o.Players, o.Seconds, o.Workers, o.Bees, o.Replicas = 4, 40, 2, 1, 2, 0
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

// TestRoom plays a small game at a real stack in every way.
func TestRoom(t *testing.T) {
	o := playOptions(t)
	o.Binary, o.Peak, o.MaxPlayers, o.NoGather = small(t).Binary, true, 40, true
	flat := runJSON(t, "room", o)
	want(t, flat, "players_per_core", "front_us_per_message", "p50_ms", "p99_ms", "echo_p50_ms", "peak_players", "share_players",
		"no_gather_players_per_core", "no_gather_echo_p50_ms")
	if flat["players"] != 40 || flat["players_lost"]+flat["refused"] != 0 || flat["peak_players"] > 40 {
		t.Errorf("room: %v", flat)
	}
	if _, ok := flat["lost"]; !ok || flat["no_gather_frames_per_s"] < 2*flat["frames_per_s"] {
		t.Errorf("%v frames a second gathered, %v not: four players say something in a tick", flat["frames_per_s"], flat["no_gather_frames_per_s"])
	}
	o.Peak, o.NoGather, o.BinaryFrames, o.Seconds = false, false, true, 1
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
	for _, row := range p.rows() {
		switch v := row.value(&p); row.figure {
		case "lost", "players_lost", "refused", "kib_per_player":
		default:
			if !(v > 0) {
				t.Errorf("%s: %v", row.figure, v)
			}
		}
	}
}
