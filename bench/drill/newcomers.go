package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// newcomers are players of the scenarios' own, beside the fleet, who connect
// while something is broken.
type newcomers struct {
	*journal

	at *entrance

	dialed atomic.Int64
}

// dial connects a player.
func (n *newcomers) dial(ctx context.Context, user string) (*client.Conn, error) {
	return n.at.dial(ctx, &device{number: int(n.dialed.Add(1)), user: hub.UserID(user)}, "")
}

// probeTimeout is how long a player waits for a connect before trying again.
const probeTimeout = 2 * time.Second

// watchConnects connects a new player every 100 ms for a while and counts
// failures; recovery is when the last failure was over.
func (n *newcomers) watchConnects(ctx context.Context, length time.Duration) error {
	end := time.Now().Add(length)
	var lastErr error
	recovered := n.faultAt
	for i := 0; time.Now().Before(end); i++ {
		if lastErr = n.try(ctx, i); lastErr != nil {
			n.result.FailedConnects++
			recovered = time.Now()
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if lastErr != nil {
		n.result.breaks("players cannot connect %v after the fault: %v", length, lastErr)
		return nil
	}
	took := recovered.Sub(n.faultAt)
	n.result.RecoveredMS = ms(took)
	if limit := connectsWithin + n.stalls.longest(); took > limit {
		n.result.breaks("players could not connect for %v, want at most %v", took.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
	n.say("players could connect again after %.1fs, %d had failed", took.Seconds(), n.result.FailedConnects)
	return nil
}

// try connects the i-th newcomer and leaves again.
func (n *newcomers) try(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := n.dial(ctx, fmt.Sprintf("newcomer%d", i))
	if err != nil {
		return err
	}
	return c.Close()
}

// watch connects a new player every 100 ms.
func (n *newcomers) watch(ctx context.Context) *watch {
	return watching(ctx, 100*time.Millisecond, func(ctx context.Context, i int) answer {
		return n.connect(ctx, fmt.Sprintf("newcomer%d", i))
	})
}

// connect connects one player and leaves again.
func (n *newcomers) connect(ctx context.Context, user string) answer {
	a := answer{what: "connect", at: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := n.dial(ctx, user)
	a.took, a.err = time.Since(a.at), err
	if err == nil {
		a.status = http.StatusOK
		_ = c.Close() // the player leaves, however
	}
	return a
}

// connectAt is connect at a host and port. A refusal has its HTTP status.
func (n *newcomers) connectAt(ctx context.Context, addr, user string) answer {
	a := answer{what: "connect", at: time.Now(), status: http.StatusOK}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := n.at.dial(ctx, &device{user: hub.UserID(user)}, addr)
	a.took, a.err = time.Since(a.at), err
	if err == nil {
		_ = c.Close() // the player leaves, however
	}
	if r, ok := errors.AsType[*client.RefusedError](err); ok {
		a.status, a.wait = r.Status, r.After > 0
	}
	return a
}

// meet connects a player for a call that says what it saw.
func (n *newcomers) meet(ctx context.Context, user string, f func(context.Context, *client.Conn, hub.UserID) answer) answer {
	connect := answer{what: "connect", at: time.Now()}
	dialing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := n.dial(dialing, user)
	if err != nil {
		connect.took, connect.err = time.Since(connect.at), err
		return connect
	}
	defer c.Close()
	hearing, cancel := context.WithTimeout(ctx, heardWithin+n.stalls.longest())
	defer cancel()
	return f(hearing, c, hub.UserID(user))
}

const (
	// herd is how many connect at a time.
	herd = 16
	// promptly is how long a connect may take.
	promptly = 1500 * time.Millisecond
)

// watchHerds connects many players at a time, again and again, and wants that
// none is kept waiting by a worker that hangs.
func (n *newcomers) watchHerds(ctx context.Context, end time.Time) error {
	var answers watch
	var herds sync.WaitGroup
	defer herds.Wait()
	for i := 0; time.Now().Before(end); i++ {
		herds.Go(func() { n.herd(ctx, i, &answers) })
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	herds.Wait()
	n.checkHerds(answers.soFar())
	return nil
}

// herd connects many players at the same time.
func (n *newcomers) herd(ctx context.Context, number int, answers *watch) {
	var all sync.WaitGroup
	for i := range herd {
		all.Go(func() { answers.add(n.connect(ctx, fmt.Sprintf("newcomer%d-%d", number, i))) })
	}
	all.Wait()
}

func (n *newcomers) checkHerds(answers []answer) {
	avoided := n.faultAt.Add(avoidedWithin + n.stalls.longest())
	hung := 0
	var example answer
	for _, a := range answers {
		limit := a.at.Add(promptly)
		if a.at.Before(avoided) {
			limit = avoided.Add(promptly)
		}
		if !a.ok() || a.until().After(limit) {
			hung, example = hung+1, a
		}
	}
	n.result.FailedConnects += hung
	n.say("%d of %d connects failed or hung", hung, len(answers))
	if hung > 0 {
		n.result.breaks("%d of %d connects failed or hung, one of them %.1fs after the fault: %v", hung, len(answers), example.at.Sub(n.faultAt).Seconds(), example)
	}
}
