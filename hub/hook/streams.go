package hook

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
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
	//go:embed lua/look.lua
	lookSource string

	addScript     = redis.NewScript(addSource)
	scanScript    = redis.NewScript(scanSource)
	ackScript     = redis.NewScript(ackSource)
	takeScript    = redis.NewScript(takeSource)
	releaseScript = redis.NewScript(releaseSource)
	joinScript    = redis.NewScript(joinSource)
	lookScript    = redis.NewScript(lookSource)
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

// homesOf returns every home of every partition of an endpoint.
func homesOf(role *redisx.Role, keys hub.HookKeys) []*home {
	var all []*home
	for n := range Partitions {
		key := keys.Stream(n)
		at := func(shard *redisx.Shard) *home {
			return &home{
				shard: shard, number: n, stream: key, book: keys.Book(n), lease: keys.Lease(n),
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
	now    int64 // the shard's clock, in Unix milliseconds
}

// take takes or renews the lease under token.
func (h *home) take(ctx context.Context, token string, period time.Duration) (st standing, err error) {
	reply, err := h.call(ctx, takeScript, []string{h.lease, h.stream, h.book}, token, period.Milliseconds())
	if err != nil || len(reply) != 4 {
		return standing{}, fmt.Errorf("take the lease of partition %d: %w", h.number, wrong(err))
	}
	st.held = number(reply[0]) == 1
	st.bytes = number(reply[1])
	at, _ := reply[2].(string)
	st.oldest, _ = strconv.ParseInt(at, 10, 64) // none: 0
	st.now = number(reply[3])
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
	bytes   int // of the body
}

// scan lists at most n entries after the entry from; "" is the beginning. more
// says that there may be others.
func (h *home) scan(ctx context.Context, from string, n int) (refs []ref, more bool, err error) {
	start := "-"
	if from != "" {
		start = "(" + from
	}
	reply, err := h.call(ctx, scanScript, []string{h.stream}, start, n)
	if err != nil || len(reply)%3 != 1 {
		return nil, false, fmt.Errorf("list partition %d: %w", h.number, wrong(err))
	}
	for i := 1; i < len(reply); i += 3 {
		entry, _ := reply[i].(string)
		subject, _ := reply[i+1].(string)
		refs = append(refs, ref{entry: entry, subject: subject, bytes: int(number(reply[i+2]))})
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
	entry   string
	id      string // empty: nobody here has written it
	subject string
	kind    string
	at      time.Time // published, by the publisher's clock
	taken   time.Time // by the shard's clock, when it took it
	body    []byte
}

// fetch reads the events of entries, and passes over those that are not there.
func (h *home) fetch(ctx context.Context, entries []string) (all []*stored, err error) {
	var found []*redis.XMessageSliceCmd
	err = h.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		found = found[:0]
		_, err := c.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, entry := range entries {
				found = append(found, pipe.XRange(ctx, h.stream, entry, entry))
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %d events of partition %d: %w", len(entries), h.number, err)
	}
	for _, cmd := range found {
		for _, m := range cmd.Val() {
			all = append(all, storedIn(&m))
		}
	}
	return all, nil
}

func storedIn(m *redis.XMessage) *stored {
	field := func(name string) string { s, _ := m.Values[name].(string); return s }
	ms, _ := strconv.ParseInt(field("t"), 10, 64) // no number: long ago
	entered, _, _ := strings.Cut(m.ID, "-")
	taken, _ := strconv.ParseInt(entered, 10, 64) // Redis makes it
	return &stored{
		entry: m.ID, id: field("i"), subject: field("s"), kind: field("k"),
		at: time.UnixMilli(ms), taken: time.UnixMilli(taken), body: []byte(field("b")),
	}
}

// Why an event is taken out of its stream, as ack.lua knows it.
type removal int

const (
	removeUnwanted  removal = 0
	removeDelivered removal = 1
	removeExpired   removal = 2
)

// drop takes events out of the stream. Only those that were delivered go when
// somebody else holds the lease now.
func (h *home) drop(ctx context.Context, token string, why removal, events ...*stored) (removed int, holds bool, err error) {
	args := []any{token, int(why)}
	for _, e := range events {
		args = append(args, e.entry, e.id)
	}
	reply, err := h.call(ctx, ackScript, []string{h.stream, h.book, h.lease}, args...)
	if err != nil || len(reply) != 2 {
		return 0, false, fmt.Errorf("remove events of partition %d: %w", h.number, wrong(err))
	}
	return int(number(reply[0])), number(reply[1]) == 1, nil
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

// wrong is err, or what to say of a reply that is not one of ours.
func wrong(err error) error {
	if err != nil {
		return err
	}
	return errReply
}
