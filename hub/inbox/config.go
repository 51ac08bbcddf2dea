package inbox

import (
	"fmt"
	"time"

	"github.com/homing/homing/hub"
)

// Config bounds what is kept for one user. The zero value is not usable:
// kong.ApplyDefaults fills in the defaults. The servers of a deployment should
// agree on it.
type Config struct {
	MaxCount int           `help:"Notifications kept for one user; beyond it the oldest is given up." default:"200"`
	MaxBytes int           `help:"Bytes kept for one user; beyond it the oldest are given up." default:"262144"`
	MaxAge   time.Duration `help:"Longest time that a notification may ask to be kept, and how long an inbox remembers what it held; at most 720h." default:"168h"`

	Watermark float64 `help:"Share of a server's memory up to which notifications are stored; above it they are refused, so that the index keeps its room. 0: 0.7 where the inbox is on the data role's servers, else 0.85." default:"0"`
	Memory    int64   `help:"Memory in bytes to reckon with at a server that sets no maxmemory; 0: none, then nothing bounds what is stored in all." default:"0"`
	KeyShare  float64 `help:"Share of what may be stored that one API key may hold, if the file of keys sets no store_bytes for it; 0: all of it." default:"0.5"`
}

// The watermarks of a deployment that does not choose one.
const (
	sharedWatermark   = 0.7  // beside the index
	separateWatermark = 0.85 // on servers of its own
)

// minBytes has room for one notification with all the data it may have.
const minBytes = 2 * hub.MaxData

// Validate reports the first option that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.MaxCount < 1 || c.MaxCount > 10_000:
		return fmt.Errorf("inbox.max-count: %d: want 1 to 10000", c.MaxCount)
	case c.MaxBytes < minBytes || c.MaxBytes > 64<<20:
		return fmt.Errorf("inbox.max-bytes: %d: want %d to %d", c.MaxBytes, minBytes, 64<<20)
	case c.MaxAge < time.Second || c.MaxAge > hub.MaxStore:
		return fmt.Errorf("inbox.max-age: %v: want 1s to %v", c.MaxAge, hub.MaxStore)
	case !(c.Watermark >= 0 && c.Watermark <= 1):
		return fmt.Errorf("inbox.watermark: %v: want 0 to 1", c.Watermark)
	case c.Memory < 0:
		return fmt.Errorf("inbox.memory: %d: want 0 or more", c.Memory)
	case !(c.KeyShare >= 0 && c.KeyShare <= 1):
		return fmt.Errorf("inbox.key-share: %v: want 0 to 1", c.KeyShare)
	}
	return nil
}
