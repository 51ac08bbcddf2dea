package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/bench/stack"
)

const (
	// fullFor is how long data Redis is full.
	fullFor = 8 * time.Second
	// headroom is what is left to fill, and fillSize the size of what fills it.
	headroom = 2 << 20
	fillSize = 48 << 10
	// forgotten is how long a server may say that something was refused after
	// nothing is any more.
	forgotten = 20 * time.Second
)

// fillRedis fills the data master up to its watermark with what is stored for
// users who are away, and makes space later. Players come and go meanwhile, and
// /readyz says degraded.
func fillRedis(ctx context.Context, d *drill) error {
	m := &memory{d.journal, d.stack.Redis}
	d.faultAt = time.Now()
	addr, err := m.limit(ctx)
	if err != nil {
		return err
	}
	ready := d.readiness.watch(ctx, "/readyz", d.stack.API.URLs()[0])
	plain := d.backend.watchPosts(ctx, "post", 50*time.Millisecond, awayPost)
	stores := d.backend.watchPosts(ctx, "store", 10*time.Millisecond, fillPost)
	full, err := m.waitRefused(ctx, stores)
	if err == nil {
		err = pause(ctx, fullFor)
	}
	if e := m.set(ctx, 0); err != nil || e != nil {
		return errors.Join(err, e)
	}
	d.say("there is space again: refused stores %v", count(stores.soFar()))
	spaceAt := time.Now()
	d.readiness.wait(ctx, "the API", d.stack.API.URLs()[0], forgotten)
	if err := pause(ctx, regroup); err != nil {
		return err
	}
	all := stores.end()
	d.judge.checkAll("posted while Redis was full", between(plain.end(), full, spaceAt))
	d.judge.checkRefusals(all)
	d.judge.checkAll("stored after there was space", between(all, spaceAt.Add(time.Second), time.Now()))
	d.readiness.checkNames(between(ready.end(), full.Add(2*time.Second), spaceAt), []int{http.StatusOK}, addr)
	return nil
}

func fillPost(n int) post {
	p := storePost(n)
	p.Data = strings.Repeat("x", fillSize)
	return p
}

// memory is how much the data master may use.
type memory struct {
	*journal

	redis *stack.Redis
}

// limit leaves the data master little memory, and returns its address.
func (m *memory) limit(ctx context.Context) (addr string, err error) {
	srv, err := m.redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return "", err
	}
	c := srv.Client()
	defer c.Close()
	info, err := c.InfoMap(ctx, "memory").Result()
	if err != nil {
		return "", fmt.Errorf("ask %s for its memory: %w", srv.Addr(), err)
	}
	var used int
	if _, err := fmt.Sscan(info["Memory"]["used_memory"], &used); err != nil {
		return "", fmt.Errorf("read the memory of %s: %w", srv.Addr(), err)
	}
	m.say("%s, the master of %s, uses %d KiB and may use %d more", srv.Addr(), stack.DataMaster, used>>10, headroom>>10)
	return srv.Addr(), m.set(ctx, used+headroom)
}

// set limits the data master's memory; 0: no limit.
func (m *memory) set(ctx context.Context, bytes int) error {
	return atMaster(ctx, m.redis, stack.DataMaster, func(c *redis.Client) error {
		if err := c.ConfigSet(ctx, "maxmemory", strconv.Itoa(bytes)).Err(); err != nil {
			return fmt.Errorf("limit the memory of %s: %w", stack.DataMaster, err)
		}
		return nil
	})
}

// fillTimeout is how long it may take to fill the headroom.
const fillTimeout = 15 * time.Second

// waitRefused waits until calls are refused.
func (m *memory) waitRefused(ctx context.Context, w *watch) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	for {
		answers := w.soFar()
		if n := len(answers); n > 3 && !answers[n-1].ok() && !answers[n-2].ok() {
			m.say("data Redis is full: %v", answers[n-1])
			return time.Now(), nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("fill data Redis: %w", err)
		}
	}
}
