package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/players"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/bench/usage"
)

const (
	// churnBatches of churnRooms rooms are opened, played in and finished one after
	// the other: 10,000 in all.
	churnBatches = 20
	churnRooms   = 500
	// churnGrowth is how much more memory than after the first batch the workers may
	// have in the end.
	churnGrowth = 1.3
	// noticeTime is longer than rooms take to be out of every list.
	noticeTime = 3 * time.Second
)

// twoWorkers is withRooms on a front of two workers.
func twoWorkers(o *stack.Options) {
	withRooms(o)
	o.Workers = 2
}

// churnRoomsThrough opens, plays and finishes rooms, and looks at what is left of
// them.
func churnRoomsThrough(ctx context.Context, g *games) error {
	var first int64
	for batch := range churnBatches {
		if err := g.churn(ctx, "churn"+strconv.Itoa(batch)); err != nil {
			return err
		}
		if batch == 0 {
			var err error
			if first, err = g.workersMemory(ctx); err != nil {
				return err
			}
		}
		g.say("  %d rooms have been played", (batch+1)*churnRooms)
	}
	last, err := g.workersMemory(ctx)
	if err != nil {
		return err
	}
	g.say("the workers' memory: %d MiB after the first %d rooms, %d MiB after %d", first>>20, churnRooms, last>>20, churnBatches*churnRooms)
	if float64(last) > churnGrowth*float64(first) {
		g.result.breaks("the workers' memory grew from %d to %d MiB", first>>20, last>>20)
	}
	return g.checkLeft(ctx)
}

// churn has players enter, talk and finish.
func (g *games) churn(ctx context.Context, name string) error {
	crowd, err := players.Enter(ctx, g.backend, "drill", name, churnRooms, 2)
	if err != nil {
		return err
	}
	defer crowd.Leave()
	talking, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	crowd.Talk(talking, 2)
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	if v := crowd.Judge(); v.Lost+v.Duplicated+v.Reordered > 0 || v.Heard == 0 {
		g.result.breaks("in the rooms of %s %d were lost, %d duplicated, %d reordered, of %d heard", name, v.Lost, v.Duplicated, v.Reordered, v.Heard)
	}
	for _, r := range crowd.Rooms {
		if err := g.backend.Do(ctx, http.MethodPost, "/rooms/"+r.Room+"/finish", map[string]any{"result": name}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (g *games) workersMemory(ctx context.Context) (int64, error) {
	workers, err := g.stack.Front.Workers()
	memory, memErr := usage.Memory(workers...)
	return memory, errors.Join(err, memErr, pause(ctx, noticeTime))
}

// checkLeft looks for what is left of the rooms: but for the scenario's own there is
// only the word of how each has ended, which lapses.
func (g *games) checkLeft(ctx context.Context) error {
	var list struct {
		Rooms []struct{ Room string }
	}
	if err := g.backend.Do(ctx, http.MethodGet, "/rooms?limit=1000", nil, &list); err != nil {
		return err
	}
	if n := len(list.Rooms); n != g.game.rooms {
		g.result.breaks("%d rooms are listed in the end, want the %d that go on", n, g.game.rooms)
	}
	master, err := g.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: master.Addr(), Protocol: 2})
	defer c.Close()
	words, others := 0, 0
	for keys := c.Scan(ctx, 0, g.stack.Keys().Room("*"), 1000).Iterator(); keys.Next(ctx); {
		ttl, err := c.TTL(ctx, keys.Val()).Result()
		if err != nil {
			return fmt.Errorf("look for what is left: %w", err)
		}
		if ttl > 0 {
			words++
		} else {
			others++
		}
	}
	checkpoints := 0
	for keys := c.Scan(ctx, 0, g.stack.Keys().RoomCheckpoint("*"), 1000).Iterator(); keys.Next(ctx); {
		checkpoints++
	}
	g.say("left in Redis: %d words of how rooms have ended, which lapse, %d records and %d checkpoints of rooms that go on", words, others, checkpoints)
	if others != g.game.rooms || checkpoints > g.game.rooms {
		g.result.breaks("%d records and %d checkpoints are left, want %d", others, checkpoints, g.game.rooms)
	}
	return nil
}
