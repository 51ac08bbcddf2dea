package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
	hubfleet "github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/roster"
)

// visitors are players who ask for a node whenever they connect, and follow a node that
// sends them elsewhere. All of them are told the same things, which are stored, one after
// the other: each must hear each of those that were told while it was there, once and in
// order.
type visitors struct {
	stack  *stack.Stack
	roster *roster.Roster
	poster *load.Poster

	running sync.WaitGroup

	mu       sync.Mutex
	all      []*visitor // who ever came
	told     int        // number of the last thing that was told
	abrupt   int        // connections that ended without a word
	unplaced int        // times that no node had room in time
	lastErr  error
}

// visitor is one of them. visitors.mu guards it.
type visitor struct {
	user    string
	leave   context.CancelFunc
	is      bool // here
	up      bool
	first   int // the number that is told next when it came; what is below it need not hear
	last    int // up to where it must hear; 0: it is here
	heard   int // the last that it heard
	twice   int
	skipped int
}

const (
	// aPlace is the address that a visitor dials when no node has sent it to another.
	aPlace = "a.place:80"
	// placeWithin is how long a visitor waits for a node with room.
	placeWithin = 20 * time.Second
	// tellEvery is how often visitors are told something.
	tellEvery = 250 * time.Millisecond
)

func newVisitors(s *stack.Stack, r *roster.Roster) *visitors {
	return &visitors{stack: s, roster: r, poster: load.NewPoster(s.API.URLs()[0], s.Access.Key(), 10*time.Second)}
}

// be has n visitors here: others come, or those who came last leave.
func (v *visitors) be(ctx context.Context, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var here []*visitor
	for _, x := range v.all {
		if x.is {
			here = append(here, x)
		}
	}
	for i := len(here); i < n; i++ {
		x := &visitor{user: fmt.Sprintf("visitor%d", len(v.all)), is: true, first: v.told + 1}
		x.heard = v.told
		var life context.Context
		life, x.leave = context.WithCancel(ctx)
		v.all = append(v.all, x)
		v.running.Go(func() { v.live(life, x) })
	}
	for i := n; i < len(here); i++ {
		here[i].is, here[i].last = false, here[i].heard // what is on its way it need not hear
		here[i].leave()
	}
}

// live keeps a visitor connected until ctx ends.
func (v *visitors) live(ctx context.Context, x *visitor) {
	c := client.New(client.Options{
		URL: "ws://" + aPlace + "/ws",
		Token: func(context.Context) (string, error) {
			return clients.Token(v.stack.Access.Secret(), x.user, "")
		},
		NetDial: v.dial, HandshakeTimeout: 2 * placeWithin,
	}, client.Handler{
		Notify: func(n client.Notification) { v.hears(x, n.Data) },
		Up:     func(client.Hello) { v.up(x) },
		Down:   func(err error, _ time.Duration) { v.down(ctx, x, err) },
	})
	_ = c.Run(ctx) // it ends with ctx
}

// dial connects to where a node has sent the visitor, or to a node that it is assigned to.
func (v *visitors) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr == aPlace {
		a, err := v.roster.AssignWithin(ctx, hubfleet.Request{Players: 1}, placeWithin)
		if err != nil {
			v.mu.Lock()
			defer v.mu.Unlock()
			if ctx.Err() == nil {
				v.unplaced++
				v.lastErr = err
			}
			return nil, err
		}
		addr = a.Endpoint
	}
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

func (v *visitors) hears(x *visitor, data []byte) {
	var n int
	if json.Unmarshal(data, &n) != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case n <= x.heard:
		x.twice++
	case n != x.heard+1:
		x.skipped++
	}
	x.heard = max(x.heard, n)
}

func (v *visitors) up(x *visitor) {
	v.mu.Lock()
	defer v.mu.Unlock()
	x.up = true
}

func (v *visitors) down(ctx context.Context, x *visitor, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x.up && ctx.Err() == nil && client.CloseCode(err) != comeBack {
		v.abrupt++
		v.lastErr = err
	}
	x.up = false
}

// tell tells all who are here something, again and again until ctx ends.
func (v *visitors) tell(ctx context.Context) {
	for pause(ctx, tellEvery) == nil {
		v.mu.Lock()
		var users []hub.UserID
		for _, x := range v.all {
			if x.is {
				users = append(users, hub.UserID(x.user))
			}
		}
		n := v.told + 1
		if len(users) > 0 {
			v.told = n
		}
		v.mu.Unlock()
		if len(users) == 0 {
			continue
		}
		body, err := json.Marshal(map[string]any{"users": users, "store": "10m", "data": n, "id": fmt.Sprint("told-", n)})
		for err == nil {
			if _, err = v.poster.Notify(context.WithoutCancel(ctx), body); err == nil {
				break // what is begun is told, whether ctx has ended or not
			}
			err = pause(ctx, tellEvery) // the same again: its id says so
		}
	}
}

// here is how many are here.
func (v *visitors) here() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, x := range v.all {
		if x.is {
			n++
		}
	}
	return n
}

// judge waits until all who are here have heard all, and enters what is wrong.
func (v *visitors) judge(ctx context.Context, d *drill) {
	whole := func() (missing, twice, skipped int) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, x := range v.all {
			if x.is {
				missing += v.told - x.heard
			}
			twice += x.twice
			skipped += x.skipped
		}
		return missing, twice, skipped
	}
	for range 200 {
		if missing, _, _ := whole(); missing == 0 || pause(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	missing, twice, skipped := whole()
	d.say("%d visitors were told %d things; %d are missing, %d came twice, %d out of order; %d connections ended without a word, %d times no node had room in time", len(v.all), v.told, missing, twice, skipped, v.abrupt, v.unplaced)
	if missing+twice+skipped+v.abrupt+v.unplaced > 0 {
		d.result.breaks("visitors: %d missing, %d twice, %d out of order, %d connections ended without a word (the last failure: %v), %d times no node had room", missing, twice, skipped, v.abrupt, v.lastErr, v.unplaced)
	}
}

// close has all leave.
func (v *visitors) close() {
	v.mu.Lock()
	for _, x := range v.all {
		x.leave()
	}
	v.mu.Unlock()
	v.running.Wait()
	v.poster.Close()
}
