package hook

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx"
)

// Partitions is how many streams subjects are spread over. Every process of a
// deployment must have the same.
const Partitions = 16

// partitionOf returns the partition of a subject.
func partitionOf(subject string) int { return int(xxhash.Sum64String(subject) % Partitions) }

var (
	//go:embed lua/add.lua
	addSource string
	//go:embed lua/scan.lua
	scanSource string
	//go:embed lua/ack.lua
	ackSource string
	//go:embed lua/take.lua
	takeSource string
	//go:embed lua/release.lua
	releaseSource string
	//go:embed lua/join.lua
	joinSource string

	addScript     = redis.NewScript(addSource)
	scanScript    = redis.NewScript(scanSource)
	ackScript     = redis.NewScript(ackSource)
	takeScript    = redis.NewScript(takeSource)
	releaseScript = redis.NewScript(releaseSource)
	joinScript    = redis.NewScript(joinSource)
)

const (
	// streamKept is how long a stream outlives its last event: longer than any
	// event may be tried, so that nothing stays for ever of a deployment that
	// does without hooks.
	streamKept = maxMaxAge + 24*time.Hour
	// writtenKept is how long Redis remembers how far a publisher has written.
	// One that repeats a write later may add events twice.
	writtenKept = time.Hour
)

// home is one partition on one shard. While a previous list of shards is
// configured, a partition that moved has two: the new one is not read before the
// old one is empty.
type home struct {
	shard  *redisx.Shard
	before *home // read first; nil: none
	number int
	stream string
	book   string
	lease  string

	sent   *memory      // what was delivered from here by this process
	bytes  atomic.Int64 // of the stream, as last seen by this process while it held the lease
	oldest atomic.Int64 // when its first event was published, in Unix milliseconds; 0: none
	held   atomic.Int64 // subjects that wait for another try
}

// homesOf returns every home of every partition.
func homesOf(role *redisx.Role, keys hub.Keys) []*home {
	var all []*home
	for n := range Partitions {
		key := keys.HookStream(n)
		at := func(shard *redisx.Shard) *home {
			return &home{
				shard: shard, number: n, stream: key, book: keys.HookBook(n), lease: keys.HookLease(n),
				sent: newMemory(sentRemembered),
			}
		}
		h := at(role.Shard(key))
		if old := role.ShardBefore(key); old != nil {
			h.before = at(old)
			all = append(all, h.before)
		}
		all = append(all, h)
	}
	return all
}

// standing is what taking or renewing a lease found.
type standing struct {
	held   bool
	bytes  int64
	oldest int64 // when the first event was published, in Unix milliseconds; 0: there is none
}

// take takes or renews the lease under token.
func (h *home) take(ctx context.Context, token string, period time.Duration) (st standing, err error) {
	reply, err := h.call(ctx, takeScript, []string{h.lease, h.stream, h.book}, token, period.Milliseconds())
	if err != nil || len(reply) != 3 {
		return standing{}, fmt.Errorf("take the lease of partition %d: %w", h.number, wrong(err))
	}
	st.held = number(reply[0]) == 1
	st.bytes = number(reply[1])
	at, _ := reply[2].(string)
	st.oldest, _ = strconv.ParseInt(at, 10, 64) // none: 0
	return st, nil
}

// release gives the lease back.
func (h *home) release(ctx context.Context, token string) error {
	return h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return releaseScript.Run(ctx, c, []string{h.lease}, token).Err()
	})
}

// ref names an entry of a stream.
type ref struct {
	entry   string
	subject string
}

// scan lists at most n entries after the entry from; "" is the beginning. more
// says that there may be others.
func (h *home) scan(ctx context.Context, from string, n int) (refs []ref, more bool, err error) {
	start := "-"
	if from != "" {
		start = "(" + from
	}
	reply, err := h.call(ctx, scanScript, []string{h.stream}, start, n)
	if err != nil || len(reply)%2 != 1 {
		return nil, false, fmt.Errorf("list partition %d: %w", h.number, wrong(err))
	}
	for i := 1; i < len(reply); i += 2 {
		entry, _ := reply[i].(string)
		subject, _ := reply[i+1].(string)
		refs = append(refs, ref{entry: entry, subject: subject})
	}
	return refs, number(reply[0]) == 1, nil
}

// empty reports whether the stream holds nothing.
func (h *home) empty(ctx context.Context) (yes bool, err error) {
	err = h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		n, err := c.XLen(ctx, h.stream).Result()
		yes = n == 0
		return err
	})
	return yes, err
}

// stored is an event as it stands in a stream.
type stored struct {
	id   string
	kind string
	at   time.Time // published
	body []byte
}

// fetch reads the event of an entry, nil when it is not there. An entry that
// nobody here has written is an event without an id.
func (h *home) fetch(ctx context.Context, entry string) (*stored, error) {
	var found []redis.XMessage
	err := h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		found, err = c.XRange(ctx, h.stream, entry, entry).Result()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read an event of partition %d: %w", h.number, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	field := func(name string) string { s, _ := found[0].Values[name].(string); return s }
	ms, _ := strconv.ParseInt(field("t"), 10, 64) // no number: long ago
	return &stored{id: field("i"), kind: field("k"), at: time.UnixMilli(ms), body: []byte(field("b"))}, nil
}

// drop takes an event out of the stream: one that was delivered, or one that
// is given up, which only the holder of the lease may do.
func (h *home) drop(ctx context.Context, token string, delivered bool, entry, id string) (removed, holds bool, err error) {
	reply, err := h.call(ctx, ackScript, []string{h.stream, h.book, h.lease}, token, flag(delivered), entry, id)
	if err != nil || len(reply) != 2 {
		return false, false, fmt.Errorf("remove an event of partition %d: %w", h.number, wrong(err))
	}
	return number(reply[0]) == 1, number(reply[1]) == 1, nil
}

// discard removes whatever stands at entry.
func (h *home) discard(ctx context.Context, entry string) error {
	return h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error { return c.XDel(ctx, h.stream, entry).Err() })
}

func (h *home) call(ctx context.Context, script *redis.Script, keys []string, args ...any) (reply []any, err error) {
	err = h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		reply, err = script.Run(ctx, c, keys, args...).Slice()
		return err
	})
	return reply, err
}

func number(v any) int64 { n, _ := v.(int64); return n }

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// wrong is err, or what to say of a reply that is not one of ours.
func wrong(err error) error {
	if err != nil {
		return err
	}
	return errReply
}
