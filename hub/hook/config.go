package hook

import (
	"fmt"
	"time"
)

// Config is what every process needs that may publish events. The zero value is
// off; kong.ApplyDefaults fills in the rest. The servers of a deployment should
// agree on it.
type Config struct {
	On          bool     `name:"hooks" help:"Tell game backends of rooms and matches. An API server given --hook-url does so anyway; give --hooks to fronts, and to API servers that only publish."`
	Events      []string `name:"hook-events" help:"Types of events that are told: room.ended, or the beginning of one and a star. None given: all." default:"*" placeholder:"PATTERN"`
	QueueBytes  int      `name:"hook-queue-bytes" help:"Bytes of events that a process keeps while Redis is away; beyond it new ones are lost." default:"16777216"`
	StreamBytes int      `name:"hook-stream-bytes" help:"Bytes of events that Redis keeps while the backend does not take them, all partitions together; beyond it the oldest are given up." default:"67108864"`
}

// The least that the bounds may be: each has room for two of the largest events.
const (
	minQueueBytes  = 2 * (MaxBody + itemOverhead + MaxType + MaxSubject + MaxID)
	minStreamBytes = Partitions * minQueueBytes
	maxQueueBytes  = 1 << 30
	maxStreamBytes = 16 << 30
)

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	if err := patterns(c.Events).check(); err != nil {
		return fmt.Errorf("--hook-events: %w", err)
	}
	switch {
	case c.QueueBytes < minQueueBytes || c.QueueBytes > maxQueueBytes:
		return fmt.Errorf("--hook-queue-bytes: %d: want %d to %d", c.QueueBytes, minQueueBytes, maxQueueBytes)
	case c.StreamBytes < minStreamBytes || c.StreamBytes > maxStreamBytes:
		return fmt.Errorf("--hook-stream-bytes: %d: want %d to %d", c.StreamBytes, minStreamBytes, maxStreamBytes)
	}
	return nil
}

// SenderConfig is what a Sender needs beside Config.
type SenderConfig struct {
	MaxAge   time.Duration `help:"How long an event is tried; then it is given up. At most 168h." default:"24h"`
	Parallel int           `help:"Requests to the backend at once, of one API server." default:"32"`
}

// The bounds of SenderConfig.
const (
	maxMaxAge   = 7 * 24 * time.Hour
	maxParallel = 1024
)

// Validate reports the first option that cannot work.
func (c *SenderConfig) Validate() error {
	switch {
	case c.MaxAge < time.Second || c.MaxAge > maxMaxAge:
		return fmt.Errorf("--hook-max-age: %v: want 1s to %v", c.MaxAge, maxMaxAge)
	case c.Parallel < 1 || c.Parallel > maxParallel:
		return fmt.Errorf("--hook-parallel: %d: want 1 to %d", c.Parallel, maxParallel)
	}
	return nil
}
