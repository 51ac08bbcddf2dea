package hook

import (
	"log/slog"
	"sync"
	"time"
)

// complaints writes warnings that may come in floods: of each text the first at
// once, then one in complainEvery, with how many were left out. It is safe for
// concurrent use.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]*complaint // by text: there are few
}

type complaint struct {
	at      time.Time
	omitted int
}

// complainEvery is how often the same is said.
const complainEvery = 10 * time.Second

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, last: make(map[string]*complaint)}
}

// warn says text, which must be a constant, unless it was said a moment ago.
func (c *complaints) warn(text string, args ...any) {
	c.mu.Lock()
	last := c.last[text]
	if last == nil {
		last = &complaint{}
		c.last[text] = last
	}
	if time.Since(last.at) < complainEvery {
		last.omitted++
		c.mu.Unlock()
		return
	}
	omitted := last.omitted
	*last = complaint{at: time.Now()}
	c.mu.Unlock()
	if omitted > 0 {
		args = append(args, "like_this_since_the_last", omitted)
	}
	c.log.Warn(text, args...) //nolint:sloglint // callers give constants
}
