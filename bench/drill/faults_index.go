package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/hub"
)

const (
	// repairedWithin is how soon the index must be right again after a third of
	// it was deleted, though nothing else tells of it.
	repairedWithin = 15 * time.Second
	// leaseWithin is how soon a lease that was deleted must stand again: it is
	// renewed every 2 s.
	leaseWithin = 4 * time.Second
)

// loseIndex deletes a third of the index, and when that is repaired the lease
// of a worker that lives.
func loseIndex(ctx context.Context, d *drill) error {
	began := time.Now()
	lost, err := d.index.deleteEntries(ctx)
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.say("deleted the index entries of %d users", lost)
	if err := d.index.watchRepair(ctx); err != nil {
		return err
	}
	// What the index names of a user may still lack one of several workers.
	d.audit.excusePartly(began, time.Now().Add(time.Second), "index entries were deleted")
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	if err := d.index.deleteLease(ctx); err != nil {
		return err
	}
	return pause(ctx, d.opts.After/2)
}

// deleteEntries deletes the entry of every third user.
func (i *index) deleteEntries(ctx context.Context) (deleted int, err error) {
	err = atMaster(ctx, i.redis, stack.DataMaster, func(c *redis.Client) error {
		entries, err := readIndex(ctx, c, i.keys)
		if err != nil {
			return err
		}
		var keys []string
		for u := range entries {
			keys = append(keys, i.keys.User(u))
		}
		slices.Sort(keys)
		for n, key := range keys {
			if n%3 != 0 {
				continue
			}
			if err := c.Del(ctx, key).Err(); err != nil {
				return fmt.Errorf("delete %s: %w", key, err)
			}
			deleted++
		}
		return nil
	})
	return deleted, err
}

// deleteLease deletes everything that says that a process lives, and waits
// until it is said again.
func (i *index) deleteLease(ctx context.Context) error {
	return atMaster(ctx, i.redis, stack.DataMaster, func(c *redis.Client) error {
		id, err := i.someWorker(ctx, c)
		if err != nil {
			return err
		}
		i.say("deleting the lease of process %s, which lives, and its place among the processes", id)
		_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Del(ctx, i.keys.Lease(id))
			p.ZRem(ctx, i.keys.Processes(), string(id))
			return nil
		})
		if err != nil {
			return fmt.Errorf("delete a lease: %w", err)
		}
		return i.watchLease(ctx, c, id)
	})
}

// someWorker returns a process that the index names.
func (i *index) someWorker(ctx context.Context, c *redis.Client) (hub.ProcessID, error) {
	entries, err := readIndex(ctx, c, i.keys)
	if err != nil {
		return "", err
	}
	for id := range processesIn(entries) {
		return id, nil
	}
	return "", errors.New("find a worker: the index names none")
}

// watchLease waits until the process is known to live.
func (i *index) watchLease(ctx context.Context, c *redis.Client, id hub.ProcessID) error {
	began := time.Now()
	for {
		lease := c.Exists(ctx, i.keys.Lease(id))
		listed := c.ZScore(ctx, i.keys.Processes(), string(id))
		took := time.Since(began)
		if lease.Val() == 1 && listed.Err() == nil {
			i.say("process %s has its lease and its place again after %.1fs", id, took.Seconds())
			return nil
		}
		if took > leaseWithin+i.stalls.longest() {
			i.result.breaks("process %s has no lease (%v) or no place (%v) %v after they were deleted", id, lease.Err(), listed.Err(), leaseWithin)
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
