package lease

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// BuryAfter is how long after its end a process should be buried. Its
	// players come back within seconds, and as long as it counts as alive what
	// is sent to them there is kept and handed over; after that they are offline.
	BuryAfter = 5 * time.Second
	// buryPause is between two attempts.
	buryPause = 250 * time.Millisecond
)

// Bury declares processes dead that are known to have ended, because whoever
// started them says so, and need not be asked. It tries until Redis has taken
// it or ctx ends, which it returns as an error.
func Bury(ctx context.Context, r *redisx.Redis, keys hub.Keys, ids []hub.ProcessID, log *slog.Logger) error {
	for _, id := range ids {
		err := atLead(ctx, r, func(ctx context.Context, c *redis.Client) error {
			return declareScript.Run(ctx, c, []string{keys.Lease(id), keys.Tombstone(id)},
				tombDeclared, tombstoneKept.Milliseconds(), 1).Err()
		})
		if err != nil {
			return fmt.Errorf("declare process %s dead: %w", id, err)
		}
		log.Info("process that has ended declared dead", "process", id)
	}
	return nil
}

// End tells everybody at once that processes have ended (Roll.Ended), as Bury does
// later of their death.
func End(ctx context.Context, r *redisx.Redis, keys hub.Keys, ids []hub.ProcessID) error {
	for _, id := range ids {
		err := atLead(ctx, r, func(ctx context.Context, c *redis.Client) error {
			return endScript.Run(ctx, c, []string{keys.Lease(id)}).Err()
		})
		if err != nil {
			return fmt.Errorf("say that process %s has ended: %w", id, err)
		}
	}
	return nil
}

// atLead does something at the lead shard, again until it succeeds or ctx ends: then it
// returns why it failed last.
func atLead(ctx context.Context, r *redisx.Redis, do func(context.Context, *redis.Client) error) error {
	for {
		err := r.Data.Lead().Write(ctx, do)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(buryPause):
		}
	}
}
