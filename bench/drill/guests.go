package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// Guests are players who come and go, beside those who stay. They resume each
// time, and at the end of the drill all of them come back once more, so that
// nothing that was stored for them may be missing.

const (
	guestCount = 60

	stayAtLeast, stayAtMost = time.Second, 8 * time.Second
	awayAtLeast, awayAtMost = 500 * time.Millisecond, 5 * time.Second
	// guestPatience is the longest that a guest waits before it tries again.
	guestPatience = 5 * time.Second
	// recallTimeout is how long all of them may take to be back in the end.
	recallTimeout = 45 * time.Second
)

// ComeAndGo is what the players did who come and go.
type ComeAndGo struct {
	Players  int `json:"players"`
	Visits   int `json:"visits"`
	Closed   int `json:"closed"`    // left with a close frame
	Dropped  int `json:"dropped"`   // left without
	SentAway int `json:"sent_away"` // were ended by the other side
}

// guests are all of them.
type guests struct {
	devices  []*device
	recalled context.Context // ends when they shall come back
	recall   context.CancelFunc

	visits, closed, dropped, sentAway atomic.Int64
}

func newGuests(f *fleet) *guests {
	g := &guests{}
	g.recalled, g.recall = context.WithCancel(context.Background())
	for i := range guestCount {
		d := &device{number: i, user: hub.UserID(fmt.Sprintf("guest%d", i)), service: services[i%len(services)], guest: true}
		d.follower = newFollower(f.book, d, true)
		d.record.CameBack = true // or should have, when the books are settled
		g.devices = append(g.devices, d)
	}
	return g
}

// users returns every guest.
func (g *guests) users() []hub.UserID {
	var users []hub.UserID
	for _, d := range g.devices {
		users = append(users, d.user)
	}
	return users
}

func (g *guests) tell() *ComeAndGo {
	return &ComeAndGo{
		Players: len(g.devices), Visits: int(g.visits.Load()),
		Closed: int(g.closed.Load()), Dropped: int(g.dropped.Load()), SentAway: int(g.sentAway.Load()),
	}
}

// comeAndGo is one guest's life.
func (f *fleet) comeAndGo(ctx context.Context, d *device) {
	var backoff client.Backoff
	for ctx.Err() == nil {
		var away time.Duration
		conn, err := f.dial(ctx, d, "")
		if err != nil {
			away = min(backoff.Next(err, nil), guestPatience)
		} else {
			backoff.Reset()
			away = f.visit(ctx, d, conn, &backoff)
		}
		f.guests.stayAway(ctx, away)
	}
}

// stayAway waits until it is time, the guests are called back or ctx ends.
func (g *guests) stayAway(ctx context.Context, d time.Duration) {
	recalled := g.recalled.Done()
	if g.recalled.Err() != nil {
		recalled, d = nil, min(d, time.Second)
	}
	select {
	case <-time.After(d):
	case <-recalled:
	case <-ctx.Done():
	}
}

// visit is one connection of a guest, until it leaves, is sent away or ctx
// ends. It returns how long the guest stays away.
func (f *fleet) visit(ctx context.Context, d *device, conn *client.Conn, backoff *client.Backoff) (away time.Duration) {
	g := f.guests
	g.visits.Add(1)
	staying, leave := context.WithCancel(ctx)
	defer leave()
	if g.recalled.Err() == nil { // else it stays to the end
		stay := time.AfterFunc(draw(stayAtLeast, stayAtMost), leave)
		defer stay.Stop()
		forget := context.AfterFunc(g.recalled, leave) //nolint:contextcheck // to be recalled is an end of its own
		defer forget()
	}
	stop := context.AfterFunc(staying, func() {
		if ctx.Err() == nil {
			d.left.Store(true)
			g.goAway(conn)
		}
	})
	d.left.Store(false)
	hint, err := f.listen(ctx, d, conn)
	stop()
	if d.left.Load() {
		return draw(awayAtLeast, awayAtMost)
	}
	g.sentAway.Add(1)
	return min(backoff.Next(err, hint), guestPatience)
}

// goAway ends a connection, half of the time without a word.
func (g *guests) goAway(conn *client.Conn) {
	if rand.IntN(2) == 0 {
		g.closed.Add(1)
		_ = conn.Close() // the guest has left, however
		return
	}
	g.dropped.Add(1)
	_ = conn.Abort()
}

// draw draws a time.
func draw(least, most time.Duration) time.Duration { return least + rand.N(most-least) }

// callBack calls all guests back and waits until each has been given what it
// missed.
func (f *fleet) callBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	f.guests.recall()
	for {
		missing := 0
		for _, d := range f.guests.devices {
			if !d.back.Load() {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			return fmt.Errorf("%d of %d players who come and go have not caught up after %v (last failure: %v)", missing, len(f.guests.devices), recallTimeout, f.lastFailure()) //nolint:errorlint // told to people
		}
	}
}
