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
		for {
			err := r.Data.Lead().Write(ctx, func(ctx context.Context, c *redis.Client) error {
				return declareScript.Run(ctx, c, []string{keys.Lease(id), keys.Tombstone(id)},
					tombDeclared, tombstoneKept.Milliseconds(), 1).Err()
			})
			if err == nil {
				log.Info("process that has ended declared dead", "process", id)
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("declare process %s dead: %w", id, err)
			case <-time.After(buryPause):
			}
		}
	}
	return nil
}
