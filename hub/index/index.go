package index

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/lease"
	"github.com/homing/homing/redisx"
)

// timing is how often things happen; only tests choose another one.
type timing struct {
	lease lease.Timing
	renew time.Duration // between renewals of a lease
	sweep time.Duration // between sweeps by anyone, while there is reason for one
	audit time.Duration // between sweeps without a reason
	pass  time.Duration // in which a process compares all its users with the index
	doubt time.Duration // from a write of unknown outcome to the check of what came of it
}

var defaultTiming = timing{
	lease: lease.DefaultTiming(),
	renew: 2 * time.Second,
	sweep: 5 * time.Second,
	audit: 10 * time.Minute,
	pass:  time.Minute,
	doubt: 2 * time.Second,
}

// Index answers where users are, as far as the census takes the processes that
// hold them to live. It is safe for concurrent use; the census must be running.
type Index struct {
	data   *redisx.Role
	shards []*redisx.Shard // also those of a previous list
	census *lease.Census
	keys   hub.Keys
	log    *slog.Logger
	met    readerMetrics
	timing timing
	ended  func(context.Context, []Ended) error // nil: nobody is told

	stray atomic.Bool // entries of a process were met that the roll did not name

	scratch sync.Pool // *lookup
}

// New returns an Index over r's data shards. It does no I/O.
func New(r *redisx.Redis, census *lease.Census, keys hub.Keys, log *slog.Logger, reg prometheus.Registerer) *Index {
	return &Index{
		data:    r.Data,
		shards:  r.Data.All(),
		census:  census,
		keys:    keys,
		log:     log,
		met:     newReaderMetrics(reg),
		timing:  defaultTiming,
		scratch: sync.Pool{New: func() any { return new(lookup) }},
	}
}

// Run sweeps after dead processes until ctx ends. It returns nil then.
func (ix *Index) Run(ctx context.Context) error {
	sweeper{ix}.run(ctx)
	return nil
}

// meet finds out about processes that entries name and the roll does not know.
// Entries of those that are dead, or may be, are a reason to sweep.
func (ix *Index) meet(ctx context.Context, ids []hub.ProcessID) (*lease.Roll, error) {
	roll, err := ix.census.Meet(ctx, ids)
	if err != nil {
		return nil, err
	}
	ix.stray.Store(true)
	return roll, nil
}

// jittered returns d give or take a quarter, so that processes started
// together do not stay in step.
func jittered(d time.Duration) time.Duration {
	return d - d/4 + rand.N(d/2+1)
}
