package hook

import (
	"fmt"
	"regexp"
	"time"

	"github.com/homing/homing/hub"
)

// Config is what every process needs that may publish events. The zero value is
// off; kong.ApplyDefaults fills in the rest.
type Config struct {
	On         bool `name:"hooks" help:"Tell game backends what happens. A server given --hook-url or --hook-endpoints does so anyway; give --hooks to fronts, and to API servers that only publish."`
	QueueBytes int  `name:"hook-queue-bytes" help:"Bytes of events that a process keeps for each inbox shard that is away; beyond it new ones are lost." default:"16777216"`
}

// DefaultName is the endpoint of a deployment that has one alone.
const DefaultName = "default"

// MaxEndpoints is how many endpoints there may be.
//
//bound:hook-endpoints
const MaxEndpoints = 16

// Target is an endpoint as those see it who write events for it.
type Target struct {
	Name        string   // a lower-case letter, then up to 31 of a to z, digits and -
	Events      []string // types of events, or the beginnings of some and a star
	StreamBytes int      // that Redis keeps while the endpoint takes nothing, all partitions together; beyond it the oldest are given up
}

// Check reports what of t cannot work.
func (t *Target) Check() error {
	if len(t.Name) > 32 || !endpointName.MatchString(t.Name) {
		return fmt.Errorf("name: %q: want a lower-case letter, then up to 31 of a to z, 0 to 9 and -", clip(t.Name))
	}
	if err := patterns(t.Events).check(); err != nil {
		return fmt.Errorf("events: %w", err)
	}
	if err := checkStreamBytes(t.StreamBytes); err != nil {
		return fmt.Errorf("stream_bytes: %w", err)
	}
	return nil
}

func checkStreamBytes(n int) error {
	if n < minStreamBytes || n > maxStreamBytes {
		return fmt.Errorf("%d: want %d to %d", n, minStreamBytes, maxStreamBytes)
	}
	return nil
}

// CheckEvents reports what of some patterns of types cannot work.
func CheckEvents(events []string) error { return patterns(events).check() }

var endpointName = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

// keys are the names of what waits for t. Those of the default have none in them.
func (t *Target) keys(k hub.Keys) hub.HookKeys {
	if t.Name == DefaultName {
		return k.Hook("")
	}
	return k.Hook(t.Name)
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
	if c.QueueBytes < minQueueBytes || c.QueueBytes > maxQueueBytes {
		return fmt.Errorf("--hook-queue-bytes: %d: want %d to %d", c.QueueBytes, minQueueBytes, maxQueueBytes)
	}
	return nil
}

// SenderConfig is what a Sender needs beside Config.
type SenderConfig struct {
	MaxAge   time.Duration `help:"How long an event is tried; then it is given up. At most 168h." default:"24h"`
	Parallel int           `help:"Requests to an endpoint at once, of one API server." default:"32"`
	Batch    int           `help:"Events that one request may take, 1 to 100, in a list. 0: each is a request of its own." default:"0"`

	StreamBytes int `help:"Bytes of events that Redis keeps while an endpoint does not take them, for each endpoint, all partitions together; beyond it the oldest are given up." default:"67108864"`
}

// MaxBatch is how many events one request may take.
const MaxBatch = 100

// The bounds of SenderConfig.
const (
	maxMaxAge   = 7 * 24 * time.Hour
	maxParallel = 1024
)

// Validate reports the first option that cannot work.
func (c *SenderConfig) Validate() error {
	if field, err := c.Problem(); err != nil {
		return fmt.Errorf("--hook-%s: %w", field, err)
	}
	return nil
}

// Problem is the first option that cannot work, and why.
func (c *SenderConfig) Problem() (field string, err error) {
	switch {
	case c.MaxAge < time.Second || c.MaxAge > maxMaxAge:
		return "max-age", fmt.Errorf("%v: want 1s to %v", c.MaxAge, maxMaxAge)
	case c.Parallel < 1 || c.Parallel > maxParallel:
		return "parallel", fmt.Errorf("%d: want 1 to %d", c.Parallel, maxParallel)
	case c.Batch < 0 || c.Batch > MaxBatch:
		return "batch", fmt.Errorf("%d: want 0 to %d", c.Batch, MaxBatch)
	}
	return "stream-bytes", checkStreamBytes(c.StreamBytes)
}
