package stack

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/homing/homing/redisx/redisproc"
)

// RedisCommands returns how many commands all data and pub/sub servers have
// processed so far, replicas too. What a master sends its replicas counts at
// each of them.
func (s *Stack) RedisCommands(ctx context.Context) (total int, err error) {
	for _, srv := range s.redisServers() {
		n, err := commands(ctx, srv)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func (s *Stack) redisServers() []*redisproc.Server {
	all := append([]*redisproc.Server(nil), s.alone...)
	if s.topology != nil {
		for _, g := range s.topology.Groups {
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
