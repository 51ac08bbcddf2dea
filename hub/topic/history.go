package topic

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/inbox"
)

// Config says what topics keep. The servers of a deployment should agree on it.
type Config struct {
	Keep []string `name:"topic-keep" help:"What a topic keeps of what it is told, for those who subscribe with a place: PATTERN=COUNT/AGE, such as guild:*=100/1h; the first pattern that fits counts. Not above --inbox-max-age, and within --inbox-max-bytes each. None: nothing, unless a notification asks for it." placeholder:"PATTERN=COUNT/AGE"`
}

// MaxKeep is how many messages a topic may keep.
const MaxKeep = 1000

// Validate reports the first rule that cannot be used where nothing is stored for longer
// than most.
func (c *Config) Validate(most time.Duration) error {
	rules, err := c.rules()
	if err != nil {
		return err
	}
	for i, r := range rules {
		if r.keep.Age > most {
			return fmt.Errorf("--topic-keep: %q: above --inbox-max-age, %v", c.Keep[i], most)
		}
	}
	return nil
}

// rule says how long the topics of a pattern keep what they are told.
type rule struct {
	topics hub.TopicPatterns // one
	keep   hub.Keep
}

func (c *Config) rules() (rules []rule, err error) {
	for _, text := range c.Keep {
		r, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("--topic-keep: %q: %w", text, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

var errRule = errors.New("want PATTERN=COUNT/AGE, such as guild:*=100/1h")

func parseRule(text string) (rule, error) {
	pattern, keep, ok := strings.Cut(text, "=")
	count, age, ok2 := strings.Cut(keep, "/")
	if !ok || !ok2 {
		return rule{}, errRule
	}
	r := rule{topics: hub.TopicPatterns{pattern}}
	if err := r.topics.Check(); err != nil {
		return rule{}, err
	}
	var err1, err2 error
	r.keep.Count, err1 = strconv.Atoi(count)
	r.keep.Age, err2 = time.ParseDuration(age)
	if err1 != nil || err2 != nil {
		return rule{}, errRule
	}
	return r, CheckKeep(r.keep)
}

// CheckKeep reports why k cannot be kept. The error is a *hub.FieldError.
func CheckKeep(k hub.Keep) error {
	switch {
	case k.Count < 1 || k.Count > MaxKeep:
		return hub.Invalid("keep.count", "%d, want 1 to %d", k.Count, MaxKeep)
	case k.Age < time.Second || k.Age > hub.MaxStore:
		return hub.Invalid("keep.age", "%v, want 1s to %v", k.Age, hub.MaxStore)
	}
	return nil
}

// Histories keeps what topics were told, as inboxes under the topics' Addresses. So
// they survive a failover as inboxes do, and are bounded with them. It is safe for
// concurrent use.
type Histories struct {
	rules []rule
	box   *inbox.Inbox
}

// NewHistories returns the histories kept in box. cfg must be valid.
func NewHistories(cfg Config, box *inbox.Inbox) *Histories {
	rules, _ := cfg.rules()
	return &Histories{rules, box}
}

// Rule is how long topic keeps what asks for nothing; zero: not at all.
func (h *Histories) Rule(topic hub.Topic) hub.Keep {
	for _, r := range h.rules {
		if r.topics.Match(topic) {
			return r.keep
		}
	}
	return hub.Keep{}
}

// Keep adds m to the histories of topics, which are distinct: of each keep.Count at most
// are kept from then on. Errors are those of inbox.Inbox.Store.
func (h *Histories) Keep(ctx context.Context, topics []hub.Topic, m *hub.Stored, keep hub.Keep) error {
	kept := *m
	kept.Class = hub.ClassDroppable // nobody acknowledges it: count and age end it
	addresses := make([]hub.UserID, len(topics))
	for i, t := range topics {
		addresses[i] = t.Address()
	}
	return h.box.Bounded(keep.Count).Store(ctx, addresses, &kept, keep.Age)
}

// Read returns what a client has missed of topic that saw the notification with the id
// after last; with an empty one, everything that is kept. It is as inbox.Inbox.Read is:
// what was kept up to 40 s before after comes again, and clients drop repeats by id.
func (h *Histories) Read(ctx context.Context, topic hub.Topic, after string) (hub.Missed, error) {
	return h.box.Read(ctx, topic.Address(), after)
}
