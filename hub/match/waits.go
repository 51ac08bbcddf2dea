package match

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub/outage"
)

const (
	// waitsFresh is how long a process goes by the waits that it has read.
	waitsFresh = time.Second
	deciles    = 10
	// decileLeast is how many waits are told apart by rating at least.
	decileLeast = 10 * deciles
)

// Quantiles of waits.
type Quantiles struct {
	P50, P90, P99 time.Duration
}

// Decile is the waits of a tenth of those who were matched, by rating.
type Decile struct {
	From, To float64 // ratings
	Quantiles
}

// sample is one ticket that was matched.
type sample struct {
	wait   time.Duration
	rating float64
}

// waits is what one process knows of a queue's last matches. Of the 2,000 tickets
// that were matched last in the last hour it has all.
type waits struct {
	mu      sync.Mutex
	read    time.Time
	all     Quantiles
	deciles []Decile // by rating; empty when there are too few
	n       int
}

// quantilesOf sorts some by their waits.
func quantilesOf(some []sample) Quantiles {
	slices.SortFunc(some, func(a, b sample) int { return cmp.Compare(a.wait, b.wait) })
	at := func(q float64) time.Duration { return some[min(len(some)-1, int(q*float64(len(some))))].wait }
	return Quantiles{P50: at(0.50), P90: at(0.90), P99: at(0.99)}
}

// decilesOf sorts all by their ratings.
func decilesOf(all []sample) []Decile {
	if len(all) < decileLeast {
		return nil
	}
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.rating, b.rating) })
	var out []Decile
	for i := range deciles {
		some := slices.Clone(all[i*len(all)/deciles : (i+1)*len(all)/deciles])
		d := Decile{From: some[0].rating, To: some[len(some)-1].rating}
		d.Quantiles = quantilesOf(some)
		out = append(out, d)
	}
	return out
}

// look reads the waits of the last matches, unless this process has just done so.
func (l *line) look(ctx context.Context) error {
	l.waits.mu.Lock()
	defer l.waits.mu.Unlock()
	if time.Since(l.waits.read) < waitsFresh {
		return nil
	}
	l.waits.read = time.Now() // a read that fails is not tried by all others, too
	var texts []string
	err := l.shard.Read(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		texts, err = c.ZRange(ctx, l.keys[recentKey], 0, -1).Result()
		return err
	})
	if err != nil {
		return outage.During("read the waits of queue "+l.Name, err)
	}
	all := samplesIn(texts)
	l.waits.n, l.waits.all, l.waits.deciles = len(all), Quantiles{}, decilesOf(all)
	if len(all) > 0 {
		l.waits.all = quantilesOf(all)
	}
	return nil
}

// samplesIn reads what finish.lua has written.
func samplesIn(texts []string) (all []sample) {
	for _, s := range texts {
		ms, rest, _ := strings.Cut(s, " ")
		rating, _, _ := strings.Cut(rest, " ")
		wait, err := strconv.ParseInt(ms, 10, 64)
		r, err2 := strconv.ParseFloat(rating, 64)
		if err == nil && err2 == nil {
			all = append(all, sample{time.Duration(wait) * time.Millisecond, r})
		}
	}
	return all
}

// estimate is how long half of those with such a rating have waited at most; 0 when
// that is not known.
func (l *line) estimate(ctx context.Context, rating float64) time.Duration {
	if l.look(ctx) != nil {
		return 0 // it is no more than a hint
	}
	l.waits.mu.Lock()
	defer l.waits.mu.Unlock()
	for i, d := range l.waits.deciles {
		if rating <= d.To || i == len(l.waits.deciles)-1 {
			return d.P50
		}
	}
	return l.waits.all.P50
}

// Counts is the books of one queue, as Redis has them at one moment. A ticket that
// is claimed has not ended: it waits. Created is always the sum of what has ended
// and Waiting.
type Counts struct {
	Created int64
	Ended   map[Status]int64
	Waiting int64 // live tickets
	Players int64 // of those
	Claimed int64 // of Waiting, those that a match is being made with
}

// Sum is how many tickets have ended.
func (c *Counts) Sum() (n int64) {
	for _, v := range c.Ended {
		n += v
	}
	return n
}

// Counts reads the books of a queue.
func (t *Tickets) Counts(ctx context.Context, queue string) (Counts, error) {
	l := t.queues[queue]
	if l == nil {
		return Counts{}, fmt.Errorf("%w: %q", ErrNoQueue, queue)
	}
	return l.counts(ctx)
}

func (l *line) counts(ctx context.Context) (Counts, error) {
	fields := []string{"created", "players"}
	for _, how := range Endings {
		fields = append(fields, string(how))
	}
	var book *redis.SliceCmd
	var live, claimed *redis.IntCmd
	err := l.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		_, err := c.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			book = pipe.HMGet(ctx, l.keys[bookKey], fields...)
			live, claimed = pipe.HLen(ctx, l.keys[ticketsKey]), pipe.HLen(ctx, l.keys[claimedKey])
			return nil
		})
		return err
	})
	if err != nil {
		return Counts{}, outage.During("read the books of queue "+l.Name, err)
	}
	numbers := make(map[string]int64)
	for i, v := range book.Val() {
		s, _ := v.(string)
		numbers[fields[i]], _ = strconv.ParseInt(s, 10, 64)
	}
	out := Counts{Created: numbers["created"], Players: numbers["players"], Waiting: live.Val(), Claimed: claimed.Val(), Ended: make(map[Status]int64)}
	for _, how := range Endings {
		out.Ended[how] = numbers[string(how)]
	}
	return out, nil
}

// Stats is what may be told of a queue.
type Stats struct {
	Queue *Queue
	Counts

	Matched int       // tickets that the waits are of: those matched last
	Waits   Quantiles // how long they have waited
	Deciles []Decile  // the same by rating; empty when there are too few
}

// Stats says how it goes in every queue, in their order.
func (t *Tickets) Stats(ctx context.Context) ([]Stats, error) {
	var all []Stats
	var errs []error
	for _, l := range t.order {
		c, err := l.counts(ctx)
		errs = append(errs, err, l.look(ctx))
		l.waits.mu.Lock()
		all = append(all, Stats{Queue: l.Queue, Counts: c, Matched: l.waits.n, Waits: l.waits.all, Deciles: slices.Clone(l.waits.deciles)})
		l.waits.mu.Unlock()
	}
	return all, errors.Join(errs...)
}
