package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// vault is what was stored for users who are away: each is looked after by one
// caller, and opened once at the end.
type vault struct {
	*journal

	backend   *backend
	newcomers *newcomers

	name string // of its users
	size int    // users
	ids  bool   // notifications have ids, and are tried again until they are accepted

	mu     sync.Mutex
	stored map[hub.UserID][]int // accepted, in order
}

// keepFor is how long stored notifications are kept.
const keepFor = "1h"

// newVault returns an empty vault of so many users.
func newVault(d *drill, name string, size int, ids bool) *vault {
	return &vault{
		journal: d.journal, backend: d.backend, newcomers: d.newcomers,
		name: name, size: size, ids: ids, stored: make(map[hub.UserID][]int),
	}
}

// fill stores notifications at a fixed pace until the watch is ended.
func (v *vault) fill(ctx context.Context, every time.Duration) *watch {
	what := "store"
	if v.ids {
		what = "store with id"
	}
	return watching(ctx, every, func(ctx context.Context, n int) answer { return v.put(ctx, what, n) })
}

// put stores notification n, and writes it down when it was accepted.
func (v *vault) put(ctx context.Context, what string, n int) answer {
	p := post{Users: []hub.UserID{hub.UserID(fmt.Sprintf("%s%d", v.name, n%v.size))}, Data: keepsake{N: n}, Store: keepFor}
	if v.ids {
		p.ID = fmt.Sprintf("%s-%d", v.name, n)
	}
	a := v.backend.notify(ctx, what, n, p)
	end := time.Now().Add(callTimeout)
	for try := 1; v.ids && !a.ok() && time.Now().Before(end); try++ {
		if pause(ctx, 50*time.Millisecond) != nil {
			break
		}
		again := v.backend.notify(ctx, what, n+try, p)
		again.at, again.took = a.at, again.until().Sub(a.at)
		a = again
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if a.ok() {
		v.stored[p.Users[0]] = append(v.stored[p.Users[0]], n)
	}
	return a
}

// keepsake is what stored notifications carry.
type keepsake struct {
	N int `json:"n"`
}

// open connects every user, resumes from nowhere, and wants all that was
// stored, in order, once.
func (v *vault) open(ctx context.Context) error {
	var found, missing, wrong int
	for u, want := range v.stored {
		got, err := v.read(ctx, u)
		if err != nil {
			return fmt.Errorf("read what was stored for %s: %w", u, err)
		}
		lost, odd := compare(want, got)
		found, missing, wrong = found+len(want)-lost, missing+lost, wrong+odd
	}
	v.say("of %d stored notifications accepted for %s, %d were found", found+missing, v.name, found)
	if missing > 0 {
		v.result.breaks("%d of %d stored notifications accepted for %s are gone", missing, found+missing, v.name)
	}
	if wrong > 0 {
		v.result.breaks("%d stored notifications for %s came twice or out of order", wrong, v.name)
	}
	return nil
}

// compare counts what is missing from got, and what is there again or before
// what was stored earlier. What was stored and not accepted may be there.
func compare(want, got []int) (missing, wrong int) {
	here := make(map[int]bool, len(got))
	newest := -1
	for _, n := range got {
		if n <= newest {
			wrong++
		}
		here[n], newest = true, max(newest, n)
	}
	for _, n := range want {
		if !here[n] {
			missing++
		}
	}
	return missing, wrong
}

// openTries is how often opening an inbox is tried.
const openTries = 5

func (v *vault) read(ctx context.Context, u hub.UserID) (got []int, err error) {
	for range openTries {
		if got, err = v.readOnce(ctx, u); err == nil {
			return got, nil
		}
		if pause(ctx, 500*time.Millisecond) != nil {
			break
		}
	}
	return nil, err
}

// readOnce connects and reads the inbox from its beginning.
func (v *vault) readOnce(ctx context.Context, u hub.UserID) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := v.newcomers.dial(ctx, string(u))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Send([]byte(`{"t":"resume"}`)); err != nil {
		return nil, err
	}
	return v.replay(ctx, c)
}

// replay reads the answer to resume and what follows it.
func (v *vault) replay(ctx context.Context, c *client.Conn) (got []int, err error) {
	for left := -1; left != 0; {
		m, err := c.Receive(ctx)
		switch {
		case err != nil:
			return nil, err
		case m.Error != nil:
			return nil, fmt.Errorf("resume: %s", m.Error.Code)
		case m.Resumed != nil:
			left = m.Resumed.Count
		case m.Notification != nil && left > 0:
			var k keepsake
			if err := json.Unmarshal(m.Notification.Data, &k); err != nil {
				return nil, fmt.Errorf("a stored notification is not ours: %w", err)
			}
			got = append(got, k.N)
			left--
		}
	}
	return got, nil
}
