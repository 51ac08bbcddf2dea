package master

import (
	"fmt"
	"time"
)

// Config is what an operator can choose about the master.
type Config struct {
	Workers          int           `help:"Worker processes that share the port. 0: one per CPU that the front may use; a CPU quota of its cgroup, rounded up, counts." default:"0"`
	ReadyTimeout     time.Duration `help:"A worker that is not ready this long after its start is killed and started again." default:"30s"`
	StopTimeout      time.Duration `help:"A worker that was told to stop and has not after this long is killed. Longer than the drain window and timeout together." default:"30s"`
	UnlistenAfter    time.Duration `help:"A slot without a worker for this long is closed, so that connections go to the others." default:"500ms"`
	HeartbeatTimeout time.Duration `help:"A worker whose loop has not answered for this long gets no more connections, if another one serves. It is asked six times as often." default:"1.5s"`
	HungTimeout      time.Duration `help:"A worker whose loop has not answered for this long is killed and replaced. One that stands still for less, as a machine that migrates, goes on and has lost nothing." default:"9.2s"`
	DoubtTimeout     time.Duration `help:"A worker that cannot show for this long that others reach it gets no more connections, if another one serves." default:"1s"`
	BackoffMax       time.Duration `help:"Longest wait before a worker that keeps dying is started again." default:"10s"`
}

// Validate reports the first setting that cannot work.
func (c *Config) Validate() error {
	if c.Workers < 0 || c.Workers > 1024 {
		return fmt.Errorf("front.workers: %d: want 0 to 1024", c.Workers)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"ready-timeout", c.ReadyTimeout},
		{"stop-timeout", c.StopTimeout},
		{"unlisten-after", c.UnlistenAfter},
		{"doubt-timeout", c.DoubtTimeout},
		{"backoff-max", c.BackoffMax},
	} {
		if d.v <= 0 {
			return fmt.Errorf("front.%s: %v: want more than 0", d.name, d.v)
		}
	}
	if c.HeartbeatTimeout < minHeartbeat {
		return fmt.Errorf("front.heartbeat-timeout: %v: want at least %v", c.HeartbeatTimeout, minHeartbeat)
	}
	if c.HungTimeout <= c.HeartbeatTimeout {
		return fmt.Errorf("front.hung-timeout: %v: want more than front.heartbeat-timeout, %v", c.HungTimeout, c.HeartbeatTimeout)
	}
	return nil
}

// minHeartbeat is more than a busy machine keeps a process from a CPU.
const minHeartbeat = 100 * time.Millisecond
