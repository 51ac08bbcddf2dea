package inbox

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
)

// calls is how often each command ran at user's server while f did.
func (b *box) calls(user hub.UserID, f func()) map[string]int {
	b.t.Helper()
	read := func() (n map[string]int) {
		b.on(user, func(ctx context.Context, c *redis.Client) error {
			info, err := c.Info(ctx, "commandstats").Result()
			n = make(map[string]int)
			for _, m := range regexp.MustCompile(`cmdstat_(\S+?):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
				n[m[1]], _ = strconv.Atoi(m[2])
			}
			return err
		})
		return n
	}
	before := read()
	f()
	after := read()
	for name, n := range before {
		after[name] -= n
	}
	return after
}

// Acknowledging costs a look-up for each id, whatever the inbox holds: no id
// makes the server read the inbox.
func TestAcknowledgingDoesNotReadTheInbox(t *testing.T) {
	b := newBox(t, nil)
	for i := range 200 {
		b.store(fmt.Sprint("n", i), hub.ClassMust, time.Hour, "ann")
	}
	b.store("mine", hub.ClassDroppable, time.Hour, "ann")
	unknown := make([]string, 256)
	for i := range unknown {
		unknown[i] = fmt.Sprint("no-such-", i)
	}
	repeated := strings.Split(strings.Repeat("mine ", scriptIDs-1)+"mine", " ")
	for name, tc := range map[string]struct {
		ids   []string
		reads int
	}{
		"unknown":  {unknown, 0},
		"repeated": {repeated, 1},
		"held":     {[]string{"n7", "n8", "n7"}, 2},
		"none":     {nil, 0},
	} {
		did := b.calls("ann", func() { b.ack("ann", tc.ids...) })
		if did["xrange"] != tc.reads {
			t.Errorf("%s: %d reads of the stream for %d ids, want %d", name, did["xrange"], len(tc.ids), tc.reads)
		}
		if most := (len(tc.ids) + scriptIDs - 1) / scriptIDs; did["evalsha"]+did["eval"] > most+1 {
			t.Errorf("%s: %d scripts, want %d", name, did["evalsha"]+did["eval"], most)
		}
	}
	if did := b.calls("ann", func() { b.ack("bob", unknown...) }); did["zscore"] != 0 {
		t.Errorf("%d look-ups in an inbox that is not there, want none", did["zscore"])
	}
}

// What was pushed out, or expired, leaves nothing behind in the book.
func TestThePositionsInTheBookGoWithTheirEntries(t *testing.T) {
	b := newBox(t, func(c *Config) { c.MaxCount = 3 })
	noted := func() (n int) {
		b.on("ann", func(ctx context.Context, c *redis.Client) error {
			for _, field := range c.HKeys(ctx, b.keys.InboxBook("ann")).Val() {
				if strings.HasPrefix(field, "@") {
					n++
				}
			}
			return nil
		})
		return n
	}
	b.store("old", hub.ClassMust, time.Hour, "ann")
	for i := range 5 {
		b.store(fmt.Sprint("n", i), hub.ClassMust, time.Hour, "ann")
		b.ack("ann", fmt.Sprint("n", i))
	}
	if n := noted(); n != 1 {
		t.Fatalf("%d positions noted, want that of old", n)
	}
	for i := range 3 {
		b.store(fmt.Sprint("m", i), hub.ClassDroppable, time.Hour, "ann")
	}
	if n := noted(); n != 0 {
		t.Errorf("%d positions noted after old was pushed out, want none", n)
	}
}

// A call that meets much to clear away leaves the rest to another, so that
// others do not wait, and nobody is left out.
func TestAStoreThatClearsAwayIsCutIntoPieces(t *testing.T) {
	b := newBox(t, nil)
	var users []hub.UserID
	for i := range 60 {
		users = append(users, hub.UserID(fmt.Sprint("user-", i)))
	}
	m := hub.Stored{Payload: make([]byte, 30_000)}
	for i := range 8 {
		m.ID = fmt.Sprint("big", i)
		if err := b.Store(t.Context(), users, &m, 3*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	// Something that stays, or the streams go as a whole.
	b.store("stays", hub.ClassMust, time.Hour, users...)
	time.Sleep(3100 * time.Millisecond)
	did := b.calls(users[0], func() { b.store("last", hub.ClassMust, time.Hour, users...) })
	if n := did["evalsha"]; n < 15 {
		t.Errorf("%d calls cleared 60 inboxes of 240 KB each, want a few inboxes a call", n)
	}
	for _, u := range users {
		b.want(u, "", "gone: stays last")
	}
}
