package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
)

const (
	// A replica is a little behind for a while, as is ordinary, and then far.
	littleLag    = 50 * time.Millisecond
	littleLagFor = 6 * time.Second
	farLag       = 4 * time.Second
	farLagFor    = 10 * time.Second
	// heardWithin is how soon a player must hear what was accepted after its
	// hello.
	heardWithin = time.Second
)

// proxiedData puts a proxy before each data server.
func proxiedData(o *stack.Options) {
	o.Place = func(r *redisproc.ServerOptions) { r.Proxied = strings.HasPrefix(r.Name, stack.DataMaster+"-") }
}

// lagReplica delays what one data replica gets from its master. Meanwhile
// players connect who are notified at once, and who are disconnected at once.
func lagReplica(ctx context.Context, d *drill) error {
	master, err := d.stack.Redis.Master(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	replicas, err := d.stack.Redis.Replicas(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	stores := d.backend.watchPosts(ctx, "store", 100*time.Millisecond, storePost)
	g := &greeter{d.backend, d.newcomers}
	late := watching(ctx, 20*time.Millisecond, g.notified)
	banned := watching(ctx, 100*time.Millisecond, g.banned)
	for _, step := range []struct{ lag, length time.Duration }{{littleLag, littleLagFor}, {farLag, farLagFor}, {0, regroup}} {
		d.say("data replica %s is %v behind", replicas[0].Addr(), step.lag)
		master.Proxy().SetDelay(step.lag, replicas[0].Addr())
		if err = pause(ctx, step.length); err != nil {
			break
		}
	}
	master.Proxy().SetDelay(0, replicas[0].Addr())
	d.judge.checkAll("notified right after hello", late.end())
	d.judge.checkAll("disconnected right after hello", banned.end())
	d.judge.checkAll("stored", stores.end())
	return err
}

// greeter calls for players as soon as they have connected.
type greeter struct {
	backend   *backend
	newcomers *newcomers
}

// notified connects a player and wants a notification that is sent right after
// hello to be read.
func (g *greeter) notified(ctx context.Context, n int) answer {
	return g.newcomers.meet(ctx, fmt.Sprintf("late%d", n), func(ctx context.Context, c *client.Conn, u hub.UserID) answer {
		a := g.backend.notify(ctx, "notify after hello", n, post{Users: []hub.UserID{u}, Data: keepsake{N: n}})
		if !a.ok() {
			return a
		}
		m, err := c.Receive(ctx)
		if err == nil && m.Notification == nil {
			err = fmt.Errorf("%w: %s", errNotHeard, m.Raw)
		}
		return heard(a, err)
	})
}

// banned connects a player and wants the connection ended that is disconnected
// right after hello.
func (g *greeter) banned(ctx context.Context, n int) answer {
	return g.newcomers.meet(ctx, fmt.Sprintf("banned%d", n), func(ctx context.Context, c *client.Conn, u hub.UserID) answer {
		apis := g.backend.apis
		a := g.backend.call(ctx, "disconnect after hello", http.MethodDelete, apis[n%len(apis)]+"/users/"+url.PathEscape(string(u))+"/connections", nil)
		if !a.ok() {
			return a
		}
		_, err := c.Receive(ctx)
		if client.CloseCode(err) != 0 {
			err = nil // as it should be
		} else if err == nil {
			err = errNotClosed
		}
		return heard(a, err)
	})
}

var (
	errNotHeard  = errors.New("something else was read")
	errNotClosed = errors.New("the connection goes on")
)

// heard is a, failed if err says that the client did not see what it should.
func heard(a answer, err error) answer {
	if err != nil {
		a.status, a.err = 0, fmt.Errorf("accepted (%s), and the client: %w", a.body, err)
	}
	return a
}
