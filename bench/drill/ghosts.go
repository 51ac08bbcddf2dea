package drill

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

// ghosts compares the index, as it stands in Redis, with the truth: an entry
// that names a process without a lease, an entry of a user that holds no
// connection, and a user without an entry.
func (d *drill) ghosts(ctx context.Context) ([]string, error) {
	entries, err := d.index(ctx)
	if err != nil {
		return nil, err
	}
	live, err := d.liveProcesses(ctx, entries)
	if err != nil {
		return nil, err
	}
	here, perhaps := d.fleet.users(), d.fleet.guests.users()
	if d.fleet.guests.recalled.Err() != nil {
		here, perhaps = append(here, perhaps...), nil
	}
	return findGhosts(entries, live, here, perhaps), nil
}

// index reads the entries of all data shards.
func (d *drill) index(ctx context.Context) (map[hub.UserID][]hub.ProcessID, error) {
	all := make(map[hub.UserID][]hub.ProcessID)
	for _, name := range d.stack.Config.DataShards() {
		err := d.atMaster(ctx, name, func(c *redis.Client) error {
			entries, err := readIndex(ctx, c, d.stack.Keys())
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
func (d *drill) atMaster(ctx context.Context, name string, f func(*redis.Client) error) error {
	srv, err := d.stack.Redis.Master(ctx, name)
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

// liveProcesses says which of the processes that entries name have a lease.
func (d *drill) liveProcesses(ctx context.Context, entries map[hub.UserID][]hub.ProcessID) (map[hub.ProcessID]bool, error) {
	live := make(map[hub.ProcessID]bool)
	err := d.atMaster(ctx, stack.DataMaster, func(c *redis.Client) error {
		for id := range processesIn(entries) {
			n, err := c.Exists(ctx, d.stack.Keys().Lease(id)).Result()
			if err != nil {
				return fmt.Errorf("read the lease of %s: %w", id, err)
			}
			live[id] = n == 1
		}
		return nil
	})
	return live, err
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
