package stack

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/homing/homing/redisx/redisproc"
)

// Commands returns how many commands all data and pub/sub servers have
// processed so far, replicas too. What a master sends its replicas counts at
// each of them.
func (r *Redis) Commands(ctx context.Context) (total int, err error) {
	for _, srv := range r.servers() {
		n, err := commands(ctx, srv)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func (r *Redis) servers() []*redisproc.Server {
	all := append([]*redisproc.Server(nil), r.alone...)
	if r.topology != nil {
		for _, g := range r.topology.Groups {
			all = append(all, g.Servers()...)
		}
	}
	return all
}

func commands(ctx context.Context, srv *redisproc.Server) (int, error) {
	c := srv.Client()
	defer c.Close()
	info, err := c.Info(ctx, "stats").Result()
	if err != nil {
		return 0, fmt.Errorf("ask %s for its statistics: %w", srv.Name(), err)
	}
	_, rest, _ := strings.Cut(info, "total_commands_processed:")
	digits, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("read the statistics of %s: %w", srv.Name(), err)
	}
	return n, nil
}

// LimitMemory bounds the memory of every Redis server, in bytes, with the
// policy that Homing asks for: refuse writes, evict nothing.
func (r *Redis) LimitMemory(ctx context.Context, bytes int64) error {
	for _, srv := range r.servers() {
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

// Memory returns how many bytes the named master uses, by its own account.
func (r *Redis) Memory(ctx context.Context, name string) (int64, error) {
	srv, err := r.Master(ctx, name)
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
