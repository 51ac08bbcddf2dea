package hook

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// stateKept is how long Redis knows how an endpoint has answered, after the
	// last word of it.
	stateKept = streamKept
	// maxReason bounds the last error that is kept, in bytes.
	maxReason = 300
)

// reporter writes how an endpoint has answered to Redis, where every API server
// can read it. It writes the newest alone, so that many requests cost no more than
// one. Several may write of the same endpoint: the last has its way.
type reporter struct {
	state string // key of the state
	lead  *redisx.Shard

	mu      sync.Mutex
	changed map[string]any // fields to write
}

// The fields of an endpoint's state. Times are Unix milliseconds.
const (
	stateTaken  = "taken"  // when the endpoint last took something
	stateFailed = "failed" // when a request last failed
	stateError  = "error"  // why
	stateGone   = "gone"   // when the endpoint answered 410
)

func newReporter(t Target, r *redisx.Redis, keys hub.Keys) *reporter {
	return &reporter{
		state: t.keys(keys).State(), lead: r.Inbox.Lead(),
		changed: make(map[string]any),
	}
}

// note takes an answer. It does not block.
func (r *reporter) note(a Answer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := now.UnixMilli()
	switch a.Verdict {
	case Delivered:
		r.changed[stateTaken] = at
	case Gone:
		r.changed[stateGone] = at
		r.changed[stateFailed], r.changed[stateError] = at, reason(a.Err)
	case Failed:
		r.changed[stateFailed], r.changed[stateError] = at, reason(a.Err)
	}
}

// reason is the text of an error, cut to what is kept of it.
func reason(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return strings.ToValidUTF8(text[:min(maxReason, len(text))], "")
}

// write writes what has changed. What cannot be written is tried again by the next call.
func (r *reporter) write(ctx context.Context) error {
	r.mu.Lock()
	changed := r.changed
	r.changed = make(map[string]any)
	r.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	err := r.lead.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.HSet(ctx, r.state, changed)
			pipe.PExpire(ctx, r.state, stateKept)
			return nil
		})
		return err
	})
	if err != nil {
		r.restore(changed)
	}
	return err
}

// restore puts back what was not written, unless there is something newer.
func (r *reporter) restore(changed map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for field, value := range changed {
		if _, newer := r.changed[field]; !newer {
			r.changed[field] = value
		}
	}
}
