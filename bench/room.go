package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/homing/homing/bench/arena"
	"github.com/homing/homing/bench/crowd"
	"github.com/homing/homing/bench/peers"
	"github.com/homing/homing/bench/report"
	"github.com/homing/homing/bench/rig"
)

var roomScenario = scenario{
	name: "room", measure: measureRoom,
	headline: []string{"players_per_core", "frames_per_s_per_player", "p50_ms", "p99_ms", "front_us_per_message", "kib_per_player"},
}

const (
	// alonePlayers are the players of a run that measures nothing beside Homing, and
	// besidePlayers those of one that does: few enough for a peer that takes more CPU.
	alonePlayers   = 1200
	besidePlayers  = 400
	defaultSeconds = 15
	playWarmUp     = 2 * time.Second
	playStep       = 8 * time.Second // of the search for the most players, at most
	// behindMs is how late the players themselves may be: beyond that it is not the
	// system that is measured.
	behindMs = 5
	// atLeastSaid is how many messages a tick a room needs to have one in every tick.
	atLeastSaid = 1.3
)

// play is what is compared between systems with game rooms.
type play struct {
	name          string
	before, after int64 // bytes of the front, without players and with them
	game          arena.Game
	peak          *arena.Peak // nil: it was not searched for
}

// measureRoom has players play in Homing's rooms, and in those of others beside
// them.
func measureRoom(ctx context.Context, r *run) error {
	all, err := r.playAll(ctx, r.opts.Beside)
	if err != nil {
		return err
	}
	for i, p := range all {
		prefix := p.name + "_"
		if i == 0 {
			prefix = ""
		}
		p.addTo(r, prefix)
	}
	return nil
}

// comparePlay is measureRoom with all peers, as peers compares them.
func comparePlay(ctx context.Context, r *run) error {
	names := r.opts.Beside
	if len(names) == 0 {
		names = peers.RoomNames()
	}
	r.Headline = nil
	for _, name := range append([]string{homingName}, names...) {
		r.Headline = append(r.Headline, name+"_players_per_core", name+"_frames_per_s_per_player", name+"_p99_ms")
	}
	all, err := r.playAll(ctx, names)
	for _, p := range all {
		p.addTo(r, p.name+"_")
	}
	return err
}

// noGatherName is Homing when it has a frame for each message.
const noGatherName = "no_gather"

// playAll measures Homing and others, one after the other.
func (r *run) playAll(ctx context.Context, beside []string) (all []play, err error) {
	for _, name := range beside {
		if err := peers.Prepare(ctx, name, "", r.stderr); err != nil {
			return nil, err
		}
	}
	if said := r.opts.Says * float64(r.opts.Size); said < atLeastSaid*float64(r.opts.Hz) {
		r.note("The players of a room say %v messages a second, and it has %d ticks: Homing sends no frame of a tick in which nobody has said anything, and such a tick counts as lost.", said, r.opts.Hz)
	}
	names := []string{homingName}
	if r.opts.NoGather {
		names = append(names, noGatherName)
	}
	names = append(names, beside...)
	r.opts.Players = cmp.Or(r.opts.Players, defaultPlayers(len(names)))
	for _, name := range names {
		r.say("%s", name)
		p, err := r.playAt(ctx, name)
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, p)
	}
	r.addPlays(all)
	return all, nil
}

// defaultPlayers is how many players each of so many systems is measured with.
func defaultPlayers(systems int) int {
	if systems == 1 {
		return alonePlayers
	}
	return besidePlayers
}

// startRooms starts a system with game rooms.
func (r *run) startRooms(ctx context.Context, name string) (arena.System, error) {
	switch name {
	case homingName, noGatherName:
		return startHomingRooms(ctx, r.opts, name == homingName)
	default:
		return startPeerRooms(ctx, r, name)
	}
}

// playAt measures one system.
func (r *run) playAt(ctx context.Context, name string) (p play, err error) {
	argv, env, err := helperCommand(helperCrowd)
	if err != nil {
		return p, err
	}
	sys, err := r.startRooms(ctx, name)
	if err != nil {
		return p, err
	}
	party, err := crowd.Start(argv, env, r.opts.Bees, r.stderr)
	if err != nil {
		return p, errors.Join(err, sys.Stop(false))
	}
	a, err := arena.Open(arena.Options{System: sys, Party: party, Say: r.say, Size: r.opts.Size, Hz: r.opts.Hz, Rate: r.opts.Says})
	if err != nil {
		return p, err
	}
	p.name = name
	o := r.opts
	o.Peak = o.Peak && name != noGatherName
	err = p.measure(ctx, a, o)
	if name == noGatherName {
		p.game.Late = nil // a frame comes with each message: it has no tick to be late for
	}
	return p, errors.Join(err, a.Close())
}

func (p *play) measure(ctx context.Context, a *arena.Arena, o Options) (err error) {
	if p.before, err = a.Memory(); err != nil {
		return err
	}
	if err := a.Fill(ctx, o.Players); err != nil {
		return err
	}
	measured := time.Duration(cmp.Or(o.Seconds, defaultSeconds) * float64(time.Second))
	if p.game, err = a.Play(ctx, playWarmUp, measured); err != nil {
		return err
	}
	if p.after, err = a.Memory(); err != nil || !o.Peak {
		return err
	}
	peak, err := a.Peak(ctx, o.Players, o.MaxPlayers, playWarmUp, min(measured, playStep))
	p.peak = &peak
	return err
}

// playRow is one line of a comparison.
type playRow struct {
	label  string
	figure string // its name in JSON, after the system's
	format string
	value  func(*play) float64
}

func playRows() []playRow {
	game := func(f func(arena.Game) float64) func(*play) float64 {
		return func(p *play) float64 { return f(p.game) }
	}
	return []playRow{
		{"players", "players", "%.0f", game(func(g arena.Game) float64 { return float64(g.Entered) })},
		{"players per core of the front, at this load", "players_per_core", "%.0f", game(arena.Game.PerCore)},
		{"ms of front CPU per player and second", "front_ms_per_player_s", "%.3f", game(func(g arena.Game) float64 { return 1000 / g.PerCore() })},
		{"frames a second that one player gets", "frames_per_s_per_player", "%.2f", game(arena.Game.PerPlayer)},
		{"ms that a frame comes after its tick, p50", "p50_ms", "%.1f", game(func(g arena.Game) float64 { return g.LateMs(50) })},
		{"the same, p99", "p99_ms", "%.1f", game(func(g arena.Game) float64 { return g.LateMs(99) })},
		{"KiB of the front's memory per player (Pss)", "kib_per_player", "%.1f", func(p *play) float64 {
			return float64(p.after-p.before) / 1024 / float64(p.game.Entered)
		}},
		{"ticks that players missed", "lost", "%.0f", game(func(g arena.Game) float64 { return float64(g.Skipped) })},
		{"players whose connection ended", "players_lost", "%.0f", game(func(g arena.Game) float64 { return float64(g.Lost) })},
		{"messages refused", "refused", "%.0f", game(func(g arena.Game) float64 { return float64(g.Refused) })},
		{"ms from a player's message to its frame, wait for the tick included, p50", "echo_p50_ms", "%.1f", game(func(g arena.Game) float64 { return g.EchoMs(50) })},
		{"the same, p99", "echo_p99_ms", "%.1f", game(func(g arena.Game) float64 { return g.EchoMs(99) })},
		{"messages a second", "messages_per_s", "%.0f", game(func(g arena.Game) float64 { return float64(g.Sent) / g.Took.Seconds() })},
		{"frames a second", "frames_per_s", "%.0f", game(func(g arena.Game) float64 { return float64(g.Frames) / g.Took.Seconds() })},
		{"µs of front CPU per message of a player", "front_us_per_message", "%.1f", game(func(g arena.Game) float64 { return g.MicrosPer(g.Sent) })},
		{"µs of front CPU per frame", "front_us_per_frame", "%.1f", game(func(g arena.Game) float64 { return g.MicrosPer(g.Frames) })},
		{"bytes of a frame", "bytes_per_frame", "%.0f", game(func(g arena.Game) float64 { return float64(g.Bytes) / float64(g.Frames) })},
		{"cores that the front used", "front_cores", "%.2f", game(func(g arena.Game) float64 { return g.Cores(rig.Front) })},
		{"cores that the players used", "client_cores", "%.2f", game(func(g arena.Game) float64 { return g.Cores(rig.Clients) })},
		{"cores of the machine that were busy", "machine_cores", "%.2f", game(func(g arena.Game) float64 { return g.Used.Busy })},
		{"ms that players sent late, p99", "behind_p99_ms", "%.1f", game(func(g arena.Game) float64 { return g.BehindMs(99) })},
	}
}

// peakRows are there when the peak is searched for; a system without one has no
// figures.
func peakRows() []playRow {
	of := func(which func(*arena.Peak) arena.Game) func(func(arena.Game) float64) func(*play) float64 {
		return func(f func(arena.Game) float64) func(*play) float64 {
			return func(p *play) float64 {
				if p.peak == nil {
					return math.NaN()
				}
				return f(which(p.peak))
			}
		}
	}
	best := of(func(p *arena.Peak) arena.Game { return p.Best })
	share := of(func(p *arena.Peak) arena.Game { return p.Share })
	return []playRow{
		{"the most players whose ticks are kept", "peak_players", "%.0f", best(func(g arena.Game) float64 { return float64(g.Entered) })},
		{"players per core of the front then", "peak_players_per_core", "%.0f", best(arena.Game.PerCore)},
		{"cores that the front used then", "peak_front_cores", "%.2f", best(func(g arena.Game) float64 { return g.Cores(rig.Front) })},
		{"frames a second that one player gets then", "peak_frames_per_s_per_player", "%.2f", best(arena.Game.PerPlayer)},
		{"ms p99 after the tick then", "peak_p99_ms", "%.1f", best(func(g arena.Game) float64 { return g.LateMs(99) })},
		{"players at four fifths of that", "share_players", "%.0f", share(func(g arena.Game) float64 { return float64(g.Entered) })},
		{"frames a second that one player gets there", "share_frames_per_s_per_player", "%.2f", share(arena.Game.PerPlayer)},
		{"ms p99 after the tick there", "share_p99_ms", "%.1f", share(func(g arena.Game) float64 { return g.LateMs(99) })},
	}
}

// rows are those of all systems of a run.
func (o Options) rows() []playRow {
	if !o.Peak {
		return playRows()
	}
	return append(playRows(), peakRows()...)
}

// cell is a figure in a table.
func (row *playRow) cell(p *play) string {
	v := row.value(p)
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf(row.format, v)
}

// addTo adds the figures under names that begin with prefix.
func (p *play) addTo(r *run, prefix string) {
	for _, row := range r.opts.rows() {
		r.Add(prefix+row.figure, row.value(p), row.label)
	}
	if prefix != "" {
		return
	}
	kept := 0.0
	if p.game.Kept() {
		kept = 1
	}
	r.Add("ticks_kept", kept, "1: every player got a frame a tick")
}

// addPlays adds a table of the systems side by side, a chart, and what a reader
// has to know.
func (r *run) addPlays(all []play) {
	t := report.Table{Title: fmt.Sprintf("Rooms of %d at %d ticks a second, each player says %v messages a second", r.opts.Size, r.opts.Hz, r.opts.Says), Columns: []string{""}}
	for i := range all {
		t.Columns = append(t.Columns, all[i].name)
		r.notePlay(&all[i])
	}
	for _, row := range r.opts.rows() {
		cells := []string{row.label}
		for i := range all {
			cells = append(cells, row.cell(&all[i]))
		}
		t.Rows = append(t.Rows, cells)
	}
	if len(all) > 1 {
		r.Tables = append(r.Tables, t)
	}
	var late []report.Latency
	for i := range all {
		if all[i].name != noGatherName {
			late = append(late, report.Latency{Name: all[i].name, Micros: all[i].game.Late})
		}
	}
	r.Charts = append(r.Charts, report.LatencyChart("how late frames are, by percentile", late...))
}

// notePlay says what weighs on a system's figures.
func (r *run) notePlay(p *play) {
	g := p.game
	switch {
	case p.name == noGatherName:
		r.note("%s: a frame comes with each message and not with a tick, so it cannot be late; see the echo.", p.name)
	case !g.Kept():
		r.note("%s does not keep its ticks with %d players: %.2f frames a second of %d, %d ticks missed, %d players lost. Its figures are those of a system that does less than it was asked for.",
			p.name, g.Entered, g.PerPlayer(), g.Hz, g.Skipped, g.Lost)
	}
	if late := g.BehindMs(99); late > behindMs {
		r.note("%s: players sent their messages up to %.1f ms late (p99): the machine was too busy with other things, and frames look later than they were.", p.name, late)
	}
}
