package stack

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// LimitRedis bounds the memory of every Redis server, in bytes, with the
// policy that Homing asks for: refuse writes, evict nothing.
func (s *Stack) LimitRedis(ctx context.Context, bytes int64) error {
	for _, srv := range s.redisServers() {
		c := srv.Client()
		err := c.ConfigSet(ctx, "maxmemory", strconv.FormatInt(bytes, 10)).Err()
		if err == nil {
			err = c.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err()
		}
		c.Close()
		if err != nil {
			return fmt.Errorf("bound the memory of %s: %w", srv.Name(), err)
		}
	}
	return nil
}

// RedisMemory returns how many bytes the named master uses, by its own account.
func (s *Stack) RedisMemory(ctx context.Context, name string) (int64, error) {
	srv, err := s.Master(ctx, name)
	if err != nil {
		return 0, err
	}
	c := srv.Client()
	defer c.Close()
	info, err := c.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its memory: %w", name, err)
	}
	_, rest, _ := strings.Cut(info, "\nused_memory:")
	digits, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of %s: %w", name, err)
	}
	return n, nil
}
