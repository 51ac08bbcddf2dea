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
	lost, err := d.deleteEntries(ctx)
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.say("deleted the index entries of %d users", lost)
	if err := d.watchRepair(ctx); err != nil {
		return err
	}
	// What the index names of a user may still lack one of several workers.
	d.excusePartly(began, time.Now().Add(time.Second), "index entries were deleted")
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	if err := d.deleteLease(ctx); err != nil {
		return err
	}
	return pause(ctx, d.opts.After/2)
}

// deleteEntries deletes the entry of every third user.
func (d *drill) deleteEntries(ctx context.Context) (deleted int, err error) {
	err = d.atMaster(ctx, stack.DataMaster, func(c *redis.Client) error {
		entries, err := readIndex(ctx, c, d.stack.Keys())
		if err != nil {
			return err
		}
		var keys []string
		for u := range entries {
			keys = append(keys, d.stack.Keys().User(u))
		}
		slices.Sort(keys)
		for i, key := range keys {
			if i%3 != 0 {
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

// watchRepair waits until the index is right.
func (d *drill) watchRepair(ctx context.Context) error {
	for {
		ghosts, err := d.ghosts(ctx)
		if err != nil {
			return err
		}
		took := time.Since(d.faultAt)
		if len(ghosts) == 0 {
			d.say("the index is right again after %.1fs", took.Seconds())
			d.result.RepairedMS = ms(took)
			return nil
		}
		if took > repairedWithin+d.stalls.longest() {
			d.result.breaks("the index is wrong about %d users %v after some of it was deleted: %v", len(ghosts), repairedWithin, ghosts[:min(len(ghosts), 3)])
			return nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// deleteLease deletes everything that says that a process lives, and waits
// until it is said again.
func (d *drill) deleteLease(ctx context.Context) error {
	return d.atMaster(ctx, stack.DataMaster, func(c *redis.Client) error {
		id, err := d.someWorker(ctx, c)
		if err != nil {
			return err
		}
		keys := d.stack.Keys()
		d.say("deleting the lease of process %s, which lives, and its place among the processes", id)
		_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.Del(ctx, keys.Lease(id))
			p.ZRem(ctx, keys.Processes(), string(id))
			return nil
		})
		if err != nil {
			return fmt.Errorf("delete a lease: %w", err)
		}
		return d.watchLease(ctx, c, id)
	})
}

// someWorker returns a process that the index names.
func (d *drill) someWorker(ctx context.Context, c *redis.Client) (hub.ProcessID, error) {
	entries, err := readIndex(ctx, c, d.stack.Keys())
	if err != nil {
		return "", err
	}
	for id := range processesIn(entries) {
		return id, nil
	}
	return "", errors.New("find a worker: the index names none")
}

// watchLease waits until the process is known to live.
func (d *drill) watchLease(ctx context.Context, c *redis.Client, id hub.ProcessID) error {
	keys, began := d.stack.Keys(), time.Now()
	for {
		lease := c.Exists(ctx, keys.Lease(id))
		listed := c.ZScore(ctx, keys.Processes(), string(id))
		took := time.Since(began)
		if lease.Val() == 1 && listed.Err() == nil {
			d.say("process %s has its lease and its place again after %.1fs", id, took.Seconds())
			return nil
		}
		if took > leaseWithin+d.stalls.longest() {
			d.result.breaks("process %s has no lease (%v) or no place (%v) %v after they were deleted", id, lease.Err(), listed.Err(), leaseWithin)
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
