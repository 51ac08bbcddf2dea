package inbox

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

const (
	// fullAfter is when to try again what found no room: acknowledgements and
	// expiry make some all the time.
	fullAfter = 10 * time.Second
	// quotaAfterMost bounds when to try again what found a quota used up:
	// acknowledgements may make room before anything lapses.
	quotaAfterMost = time.Minute
	// fullLasts is how long after its last refusal a shard counts as full.
	fullLasts = 15 * time.Second
)

// room knows which shards have refused to store for want of room, and which
// have no bound at all. It is safe for concurrent use.
type room struct {
	log *slog.Logger

	mu        sync.Mutex
	full      map[*redisx.Shard]fullness
	unbounded map[*redisx.Shard]bool // told already
}

// fullness is a shard's last refusal for want of room.
type fullness struct {
	at     time.Time
	detail string
}

func newRoom(log *slog.Logger) *room {
	return &room{log: log, full: make(map[*redisx.Shard]fullness), unbounded: make(map[*redisx.Shard]bool)}
}

// refusal reads what store.lua refuses with; nil when err is something else.
func refusal(err error, account string) *hub.RoomError {
	switch {
	case redis.HasErrorPrefix(err, "INBOXFULL"):
		return &hub.RoomError{Pot: hub.PotInbox, After: fullAfter, Detail: strings.TrimPrefix(err.Error(), "INBOXFULL ")}
	case redis.HasErrorPrefix(err, "INBOXQUOTA"):
		seconds, detail, _ := strings.Cut(strings.TrimPrefix(err.Error(), "INBOXQUOTA "), " ")
		n, _ := strconv.Atoi(seconds) // store.lua writes a number
		after := min(max(time.Duration(n)*time.Second, time.Second), quotaAfterMost)
		return &hub.RoomError{Pot: hub.PotInbox, Account: account, After: after, Detail: detail}
	}
	return nil
}

// note remembers that shard was full, and says so when it was not before.
func (r *room) note(shard *redisx.Shard, detail string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.full[shard]; !ok || now.Sub(last.at) >= fullLasts {
		r.log.Warn("inbox: above its watermark; what is to be stored is refused", "shard", shard.Name(), "memory", detail)
	}
	r.full[shard] = fullness{at: now, detail: detail}
}

// Degraded names the shards that have refused to store for want of room within
// the last 15 s, and says how full they were.
func (in *Inbox) Degraded() []string {
	in.room.mu.Lock()
	defer in.room.mu.Unlock()
	var all []string
	for shard, f := range in.room.full {
		if time.Since(f.at) < fullLasts {
			all = append(all, fmt.Sprintf("inbox %s%s is above its watermark and stores nothing: %s", shard.Name(), masterOf(shard), f.detail))
		}
	}
	slices.Sort(all)
	return all
}

// masterOf is the address of a shard's master, where its name is not that.
func masterOf(shard *redisx.Shard) string {
	for _, n := range shard.Nodes() {
		if n.Role == redisx.Master && n.Addr != shard.Name() {
			return " (" + n.Addr + ")"
		}
	}
	return ""
}

// checkBounds tells of shards that nothing bounds: their masters set no
// maxmemory, and the configuration names none.
func (in *Inbox) checkBounds() {
	for _, shard := range in.role.Shards() {
		for _, n := range shard.Nodes() {
			limit, known := n.MaxMemory()
			if n.Role != redisx.Master || !known {
				continue
			}
			unbounded := limit == 0 && in.cfg.Memory == 0
			in.metrics.unbounded.WithLabelValues(shard.Name()).Set(oneIf(unbounded))
			if unbounded && in.room.tell(shard) {
				in.log.Warn("inbox: nothing bounds what is stored: set maxmemory at the server, or --inbox-memory", "shard", shard.Name(), "node", n.Addr)
			}
		}
	}
}

// tell reports whether it was not told yet that nothing bounds shard.
func (r *room) tell(shard *redisx.Shard) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.unbounded[shard]
	r.unbounded[shard] = true
	return !told
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// WatchBounds tells of shards that nothing bounds, by a log line and a metric,
// until ctx ends; it returns nil then. It is for processes that store.
func (in *Inbox) WatchBounds(ctx context.Context) error {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		in.checkBounds()
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

// bounds are the arguments of the store script that say what may be stored, but
// for the first, which is each call's own.
func (in *Inbox) bounds(a hub.Account) []any {
	shards := int64(len(in.role.Shards()))
	quota := (a.Quota + shards - 1) / shards
	return []any{in.watermark, in.cfg.Memory, in.keys.InboxAccounts(), a.Name, quota, in.cfg.KeyShare}
}

// watermark is the share of a server's memory that may be used, by
// configuration or by whom the servers are shared with.
func watermark(cfg Config, r *redisx.Redis) float64 {
	if cfg.Watermark > 0 {
		return cfg.Watermark
	}
	for _, s := range r.Inbox.All() {
		if slices.Contains(r.Data.All(), s) {
			return sharedWatermark
		}
	}
	return separateWatermark
}
