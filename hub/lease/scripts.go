package lease

import (
	"context"
	_ "embed"
	"encoding/json"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// The scripts go through at a Redis that takes no more writes for want of
// memory: what tells the living from the dead takes no memory to speak of, and
// whoever is refused it there would be wrong about both.
var (
	//go:embed lua/renew.lua
	renewSource string
	//go:embed lua/vouch.lua
	vouchSource string
	//go:embed lua/declare.lua
	declareSource string
	//go:embed lua/forget.lua
	forgetSource string
	//go:embed lua/leave.lua
	leaveSource string
	//go:embed lua/end.lua
	endSource string

	renewScript   = redis.NewScript(renewSource)
	vouchScript   = redis.NewScript(vouchSource)
	declareScript = redis.NewScript(declareSource)
	forgetScript  = redis.NewScript(forgetSource)
	leaveScript   = redis.NewScript(leaveSource)
	endScript     = redis.NewScript(endSource)
)

const (
	// tombstoneKept is how long a declaration stands: longer than any process
	// may stand still and then go on.
	tombstoneKept = 24 * time.Hour

	// What a tombstone says.
	tombDeclared = "declared" // it did not answer
	tombLeft     = "left"     // it stopped in good order

	// vouched begins the value of a lease that another process renewed.
	vouched = "+"
	// ended begins that of a process that has ended.
	ended = "-"
)

// Renewal is what renewing a lease found.
type Renewal int

// The outcomes of a renewal.
const (
	RenewedDead   Renewal = -1 // the process was declared dead; the lease was not renewed
	RenewedLapsed Renewal = 0  // the lease had lapsed or is new
	RenewedStood  Renewal = 1  // it had not lapsed
)

// Renew makes p's lease stand on one shard for another period. On the lead
// shard, where leases are judged, it also enters p in the set of processes and
// looks for a tombstone.
func Renew(ctx context.Context, c *redis.Client, keys hub.Keys, p *hub.Process, lead bool, period time.Duration, now time.Time) (Renewal, error) {
	description, _ := json.Marshal(p) // strings and numbers always marshal
	names := []string{keys.Lease(p.ID)}
	if lead {
		names = append(names, keys.Processes(), keys.Tombstone(p.ID))
	}
	n, err := renewScript.Run(ctx, c, names, description, period.Milliseconds(), string(p.ID), now.Unix()).Int()
	return Renewal(n), err
}

// Leave takes p's lease out of one shard. On the lead shard it also takes p out
// of the set of processes and says that it left, so that nobody asks for it.
func Leave(ctx context.Context, c *redis.Client, keys hub.Keys, p hub.ProcessID, lead bool) error {
	names := []string{keys.Lease(p)}
	if lead {
		names = append(names, keys.Processes(), keys.Tombstone(p))
	}
	return leaveScript.Run(ctx, c, names, string(p), tombLeft, tombstoneKept.Milliseconds()).Err()
}

// Forget takes those of ids whose lease does not stand out of the set of
// processes, and returns how many that were. Nothing in the index may name
// them any more.
func Forget(ctx context.Context, c *redis.Client, keys hub.Keys, ids []hub.ProcessID) (int64, error) {
	names, argv := []string{keys.Processes()}, make([]any, 0, len(ids))
	for _, id := range ids {
		names = append(names, keys.Lease(id))
		argv = append(argv, string(id))
	}
	return forgetScript.Run(ctx, c, names, argv...).Int64()
}
