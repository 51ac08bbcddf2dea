package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

// index is the index as it stands in Redis, and the truth to compare it with.
type index struct {
	*journal

	redis  *stack.Redis
	config *stack.Config
	keys   hub.Keys
	fleet  *fleet
}

// ghosts compares the index, as it stands in Redis, with the truth: an entry
// that names a process without a lease, an entry of a user that holds no
// connection, and a user without an entry.
func (i *index) ghosts(ctx context.Context) ([]string, error) {
	entries, err := i.entries(ctx)
	if err != nil {
		return nil, err
	}
	live, err := i.liveProcesses(ctx, entries)
	if err != nil {
		return nil, err
	}
	here, perhaps := i.fleet.users(), i.fleet.guests.users()
	if i.fleet.guests.recalled.Err() != nil {
		here, perhaps = append(here, perhaps...), nil
	}
	return findGhosts(entries, live, here, perhaps), nil
}

// entries reads the entries of all data shards.
func (i *index) entries(ctx context.Context) (map[hub.UserID][]hub.ProcessID, error) {
	all := make(map[hub.UserID][]hub.ProcessID)
	for _, name := range i.config.DataShards() {
		err := atMaster(ctx, i.redis, name, func(c *redis.Client) error {
			entries, err := readIndex(ctx, c, i.keys)
			for u, ids := range entries {
				all[u] = append(all[u], ids...)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// atMaster calls f with a client of a master.
func atMaster(ctx context.Context, servers *stack.Redis, name string, f func(*redis.Client) error) error {
	srv, err := servers.Master(ctx, name)
	if err != nil {
		return err
	}
	c := srv.Client()
	defer c.Close()
	return f(c)
}

// readIndex returns the processes that each user's entry names.
func readIndex(ctx context.Context, c *redis.Client, keys hub.Keys) (map[hub.UserID][]hub.ProcessID, error) {
	entries := make(map[hub.UserID][]hub.ProcessID)
	scan := c.Scan(ctx, 0, keys.UserPattern(), 1000).Iterator()
	var users []string
	for scan.Next(ctx) {
		users = append(users, scan.Val())
	}
	if err := scan.Err(); err != nil {
		return nil, fmt.Errorf("scan the index: %w", err)
	}
	if len(users) == 0 {
		return entries, nil
	}
	values, err := c.MGet(ctx, users...).Result()
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	for i, key := range users {
		user, ok := keys.UserOf(key)
		if entry, isString := values[i].(string); ok && isString {
			entries[user] = processesOf(entry)
		}
	}
	return entries, nil
}

// processesOf reads "<process>=… <process>=…".
func processesOf(entry string) []hub.ProcessID {
	var ids []hub.ProcessID
	for part := range strings.FieldsSeq(entry) {
		id, _, _ := strings.Cut(part, "=")
		ids = append(ids, hub.ProcessID(id))
	}
	return ids
}

func processesIn(entries map[hub.UserID][]hub.ProcessID) map[hub.ProcessID]bool {
	all := make(map[hub.ProcessID]bool)
	for _, ids := range entries {
		for _, id := range ids {
			all[id] = true
		}
	}
	return all
}

// findGhosts looks for what is wrong about users who are connected, about those
// who may be, and about all others.
func findGhosts(entries map[hub.UserID][]hub.ProcessID, live map[hub.ProcessID]bool, connected, perhaps []hub.UserID) []string {
	var ghosts []string
	here := make(map[hub.UserID]bool, len(connected)+len(perhaps))
	for _, u := range perhaps {
		here[u] = true
	}
	for _, u := range connected {
		here[u] = true
		if len(entries[u]) == 0 {
			ghosts = append(ghosts, fmt.Sprintf("%s is connected and has no entry", u))
		}
	}
	for u, ids := range entries {
		if !here[u] {
			ghosts = append(ghosts, fmt.Sprintf("%s is not connected and has an entry", u))
		}
		for _, id := range ids {
			if !live[id] {
				ghosts = append(ghosts, fmt.Sprintf("%s is at process %s, which is dead", u, id))
			}
		}
	}
	return ghosts
}

// liveProcesses says which of the processes that entries name have a lease.
func (i *index) liveProcesses(ctx context.Context, entries map[hub.UserID][]hub.ProcessID) (map[hub.ProcessID]bool, error) {
	live := make(map[hub.ProcessID]bool)
	err := atMaster(ctx, i.redis, stack.DataMaster, func(c *redis.Client) error {
		for id := range processesIn(entries) {
			n, err := c.Exists(ctx, i.keys.Lease(id)).Result()
			if err != nil {
				return fmt.Errorf("read the lease of %s: %w", id, err)
			}
			live[id] = n == 1
		}
		return nil
	})
	return live, err
}

// check waits until the index says exactly what is true: one entry for each
// user, naming live processes only, and nobody else.
func (i *index) check(ctx context.Context) error {
	for {
		ghosts, err := i.ghosts(ctx)
		switch {
		case err == nil && len(ghosts) == 0:
			i.result.Ghosts = new(int)
			return nil
		case pause(ctx, 200*time.Millisecond) == nil:
			continue
		case errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read the index: %w", err)
		}
		n := len(ghosts)
		i.result.Ghosts = &n
		i.result.breaks("the index is wrong about %d users after %v: %v", n, checkTimeout, ghosts[:min(n, 3)])
		return nil
	}
}

// watchSweep waits until the index names the dead worker no more.
func (i *index) watchSweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := i.check(ctx); err != nil {
		return err
	}
	took := time.Since(i.faultAt)
	i.result.SweptMS = ms(took)
	i.say("the index is clean after %.1fs", took.Seconds())
	return nil
}

// watchRepair waits until the index is right.
func (i *index) watchRepair(ctx context.Context) error {
	for {
		ghosts, err := i.ghosts(ctx)
		if err != nil {
			return err
		}
		took := time.Since(i.faultAt)
		if len(ghosts) == 0 {
			i.say("the index is right again after %.1fs", took.Seconds())
			i.result.RepairedMS = ms(took)
			return nil
		}
		if took > repairedWithin+i.stalls.longest() {
			i.result.breaks("the index is wrong about %d users %v after some of it was deleted: %v", len(ghosts), repairedWithin, ghosts[:min(len(ghosts), 3)])
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
