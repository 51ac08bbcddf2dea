package drill

import (
	"context"
	"errors"
	"time"

	"github.com/homing/homing/bench/stack"
)

const (
	// failovers is how many planned failovers are made in a row.
	failovers = 3
	// answeredWithin is how soon after each posts and connects must be
	// answered again.
	answeredWithin = 2500 * time.Millisecond
	// shortFailovers is what Sentinels are told: how long an attempt may take.
	shortFailovers = 3 * time.Second
)

func quickFailovers(o *stack.Options) { o.FailoverTimeout = shortFailovers }

// planFailovers has Sentinel replace the data master, again and again.
func planFailovers(ctx context.Context, d *drill) error {
	plain, named := newVault(d, "keeper", 40, false), newVault(d, "savekeeper", 40, true)
	watches := map[string]*watch{
		"post":          d.backend.watchPosts(ctx, "post", 50*time.Millisecond, awayPost),
		"post with id":  d.backend.watchPosts(ctx, "post with id", 50*time.Millisecond, namedPost),
		"store":         plain.fill(ctx, 10*time.Millisecond),
		"store with id": named.fill(ctx, 20*time.Millisecond),
		"connect":       d.newcomers.watch(ctx),
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	d.faultAt = time.Now()
	var began []time.Time
	for range failovers {
		began = append(began, time.Now())
		if err := d.operator.failover(ctx, stack.DataMaster); err != nil {
			return err
		}
		if err := pause(ctx, regroup); err != nil {
			return err
		}
	}
	for what, w := range watches {
		d.judge.checkFailovers(what, w.end(), began)
	}
	return errors.Join(plain.open(ctx), named.open(ctx))
}
