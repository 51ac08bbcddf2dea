package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

// game is a scenario with players in game rooms.
type game struct {
	rooms, size int
	perSecond   float64 // messages of each player
	fault       func(ctx context.Context, g *games) error
	gap         time.Duration // how long a player may read no frame

	// stays says that no room of the players changes its owner.
	stays bool
	// dies says that owners of rooms die: what was said since the last checkpoint
	// may be lost, and is told.
	dies bool
}

// games is such a scenario under way.
type games struct {
	*drill

	backend *players.Backend
	crowd   *players.Crowd
}

const (
	// roomCheckpoint is how often the rooms are saved.
	roomCheckpoint = time.Second
	roomClasses    = "classes:\n  - {name: drill, seats: 20, hz: 20, checkpoint: 1s, grace: 1m, reserve: 1m}\n"
	// quietGames is how long nobody talks at the end, until all has been read.
	quietGames = 2 * time.Second
	// beginsSocketIO is how much longer a player who speaks Socket.IO may take to come to
	// its room anew: it has up to six requests to make for that, and not one.
	beginsSocketIO = time.Second
)

func gameScenarios() []scenario {
	return []scenario{
		{
			name: "room-move", about: "50 rooms of 20 players move to another worker while everybody talks, twice", setup: withRooms,
			game: &game{rooms: 50, size: 20, perSecond: 1, fault: moveRooms, gap: time.Second},
		},
		{
			name: "room-owner-stop", about: "a worker with rooms stands still (SIGSTOP) for longer than its lease, another takes over, and it wakes", setup: withRooms,
			game: &game{rooms: 16, size: 4, perSecond: 5, fault: stopOwner, gap: stoppedFor + 10*time.Second, dies: true},
		},
		{
			name: "room-worker-kill", about: "a worker with rooms is killed (SIGKILL)", setup: withRooms,
			game: &game{rooms: 16, size: 4, perSecond: 5, fault: killOwner, gap: 25 * time.Second, dies: true},
		},
		{
			name: "room-roll", about: "the front replaces its workers one by one (SIGHUP) while everybody plays", setup: withRooms, front: quickDrain,
			game: &game{rooms: 16, size: 4, perSecond: 5, fault: rollRooms, gap: 5 * time.Second},
		},
		{
			name: "room-churn", about: "10,000 rooms are opened, played in and finished on two workers, beside some that go on", setup: twoWorkers,
			game: &game{rooms: 4, size: 4, perSecond: 2, fault: churnRoomsThrough, gap: 5 * time.Second, stays: true},
		},
	}
}

// withRooms has the front run rooms of a class that is saved.
func withRooms(o *stack.Options) {
	o.Rooms = true
	file := filepath.Join(os.TempDir(), "homing-drill-classes.yaml") // the same each time
	_ = os.WriteFile(file, []byte(roomClasses), 0o600)
	o.FrontArgs = append(o.FrontArgs, "--room-classes", file)
}

// runGame is the scenario on a stack that is ready.
func (d *drill) runGame(ctx context.Context) error {
	g := &games{drill: d, backend: &players.Backend{URL: d.stack.API.URLs()[0], Key: d.stack.Access.Key(), Secret: d.stack.Access.Secret(), Dialer: d.entrance.player}}
	d.say("%d rooms of %d players enter", d.game.rooms, d.game.size)
	var err error
	if g.crowd, err = players.Enter(ctx, g.backend, "drill", "player", d.game.rooms, d.game.size); err != nil {
		return err
	}
	defer g.crowd.Leave()
	talking, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { g.crowd.Talk(talking, d.game.perSecond) })
	wg.Go(func() { d.stalls.run(talking) })
	err = errors.Join(pause(ctx, warmUp), d.game.fault(ctx, g), pause(ctx, d.opts.After/2))
	stop()
	wg.Wait()
	if err = errors.Join(err, pause(ctx, quietGames)); err != nil {
		return err
	}
	g.account(g.crowd.Judge())
	return nil
}

// account takes over what the players' books say.
func (g *games) account(v players.Verdict) {
	r := &g.result
	r.HarnessStallMS = g.stalls.longest().Milliseconds()
	r.Connections, r.Notifications = v.Players, v.Said
	r.Accepted, r.Written = v.Heard+v.Lost, v.Heard
	r.Lost, r.Duplicated, r.Reordered = v.Lost, v.Duplicated, v.Reordered
	r.LongestGapMS, r.Books = v.LongestGap.Milliseconds(), "balance"
	r.Rooms = &Rooms{TakenOver: v.TakenOver, Unheard: v.Unheard, Rejoins: v.Rejoins, TwoOwners: v.TwoOwners, Unwhole: v.Unwhole, Backward: v.Backward, Refused: v.Refused}
	if g.game.dies { // those who saw the end of an owner's life were told that it is not remembered
		r.Excused, r.Lost = r.Lost, 0
	}
	if r.Excused > 0 && v.Unwhole == 0 {
		r.breaks("%d events are lost, and nobody was told", r.Excused)
	}
	if v.TakenOver == 0 && !g.game.stays {
		r.breaks("no room went on under another owner: nothing was tried")
	}
	if v.TwoOwners > 0 {
		r.breaks("frames of two owners were read at a time, in %d rooms", v.TwoOwners)
	}
	if v.Backward > 0 || !g.game.dies && v.Unwhole > 0 {
		r.breaks("%d frames went back in time, %d connections were told that events are missing", v.Backward, v.Unwhole)
	}
	if len(v.Ended) > 0 {
		r.breaks("%d players lost their seats, the first: %s", len(v.Ended), v.Ended[0])
	}
	limit := g.game.gap + g.stalls.longest()
	if g.entrance.mixed {
		limit += beginsSocketIO
	}
	if v.LongestGap > limit {
		r.breaks("a player read nothing for %v, want less than %v", v.LongestGap.Round(time.Millisecond), limit)
	}
	r.Promise = Kept
	if r.Lost+r.Duplicated+r.Reordered > 0 || len(r.Broke) > 0 {
		r.Promise = Broken
	}
	g.say("%d said, %d heard: promise %s", v.Said, v.Heard, r.Promise)
}

// moveRooms moves every room, one after the other, and then once more.
func moveRooms(ctx context.Context, g *games) error {
	for range 2 {
		began := time.Now()
		for _, r := range g.crowd.Rooms {
			if err := g.backend.Do(ctx, http.MethodPost, "/rooms/"+r.Room+"/move", struct{}{}, nil); err != nil {
				return err
			}
		}
		g.say("%d rooms moved within %v", len(g.crowd.Rooms), time.Since(began).Round(time.Millisecond))
		if err := pause(ctx, warmUp); err != nil {
			return err
		}
	}
	return nil
}

// ownerOf returns the operating system's id of the worker that runs a room, which its
// lease tells. A worker that happens to run none would show nothing.
func ownerOf(ctx context.Context, g *games, room string) (pid int, err error) {
	var at struct {
		Process hub.ProcessID `json:"process"`
	}
	if err := g.backend.Do(ctx, http.MethodGet, "/rooms/"+room, nil, &at); err != nil {
		return 0, fmt.Errorf("ask who runs room %s: %w", room, err)
	}
	return readPID(ctx, g.stack.Redis, hub.NewKeys(""), at.Process)
}

// stoppedFor is longer than a lease stands and its holder is asked whether it lives,
// which is 17 s in all, and others take to go on with its rooms.
const stoppedFor = 25 * time.Second

// stopOwner stops a worker, has half of the players come anew meanwhile, and lets it
// wake: those who have stayed read of it again.
func stopOwner(ctx context.Context, g *games) error {
	pid, err := ownerOf(ctx, g, g.crowd.Rooms[rand.IntN(len(g.crowd.Rooms))].Room)
	if err != nil {
		return err
	}
	master := g.stack.Front.MasterPID() // would replace the worker
	g.say("worker %d stands still for %v, and the master with it", pid, stoppedFor)
	defer func() {
		_, _ = syscall.Kill(pid, syscall.SIGCONT), syscall.Kill(master, syscall.SIGCONT) // they may have ended
	}()
	if err := errors.Join(syscall.Kill(master, syscall.SIGSTOP), syscall.Kill(pid, syscall.SIGSTOP)); err != nil {
		return fmt.Errorf("stop a worker: %w", err)
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	g.crowd.Drop(2)
	if err := pause(ctx, stoppedFor-2*time.Second); err != nil {
		return err
	}
	g.say("it wakes")
	if err := errors.Join(syscall.Kill(pid, syscall.SIGCONT), pause(ctx, warmUp), syscall.Kill(master, syscall.SIGCONT)); err != nil {
		return fmt.Errorf("wake a worker: %w", err)
	}
	return pause(ctx, warmUp)
}

func killOwner(ctx context.Context, g *games) error {
	pid, err := ownerOf(ctx, g, g.crowd.Rooms[rand.IntN(len(g.crowd.Rooms))].Room)
	if err != nil {
		return err
	}
	g.say("worker %d is killed", pid)
	if err := pause(ctx, roomCheckpoint); err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill a worker: %w", err)
	}
	return pause(ctx, 20*time.Second)
}

func rollRooms(ctx context.Context, g *games) error {
	if err := g.stack.Front.ReplaceWorkers(); err != nil {
		return err
	}
	return pause(ctx, 30*time.Second)
}
