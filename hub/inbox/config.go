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
}

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
	}
	return nil
}
