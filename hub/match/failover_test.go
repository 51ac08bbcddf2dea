package match

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// crowd puts tickets of players of its own, each until it is taken, and keeps half of
// them alive.
type crowd struct {
	h    *hall
	stop context.CancelFunc
	work sync.WaitGroup
	n    atomic.Int64

	mu     sync.Mutex
	all    []*Ticket
	beaten []*Ticket
	failed []error
}

func (h *hall) crowd(goroutines int) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{h: h, stop: cancel}
	for g := range goroutines {
		c.work.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 5))
			for ctx.Err() == nil {
				c.one(rng)
				time.Sleep(4 * time.Millisecond)
			}
		})
	}
	c.work.Go(func() {
		for ctx.Err() == nil {
			c.beat()
			time.Sleep(200 * time.Millisecond)
		}
	})
	h.t.Cleanup(func() { cancel(); c.work.Wait() })
	return c
}

func (c *crowd) one(rng *rand.Rand) {
	n := c.n.Add(1)
	x := &Ticket{ID: fmt.Sprintf("duel:%d", n), Players: []hub.UserID{hub.UserID(fmt.Sprint("u", n))}, Rating: rng.NormFloat64() * 20, Since: time.Now()}
	for range 20 { // a caller that was not answered asks again
		_, _, err := c.h.Put(context.Background(), "duel", x, n%2 == 0)
		c.mu.Lock()
		if err == nil {
			c.all = append(c.all, x)
			if n%2 == 0 {
				c.beaten = append(c.beaten, x)
			}
			c.mu.Unlock()
			return
		}
		c.failed = append(c.failed, err)
		c.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *crowd) beat() {
	c.mu.Lock()
	all := c.beaten
	c.mu.Unlock()
	signs, err := c.h.Beat(context.Background(), "duel", all)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var left []*Ticket
	for i, s := range signs {
		if !s.Status.Ended() {
			left = append(left, all[i])
		}
	}
	c.beaten = append(left, c.beaten[len(all):]...)
}

// Point 5, and 1 and 2 while it happens: the master of data Redis is killed while
// tickets come and matches are made by two nodes. What was taken is there afterwards:
// everybody is matched, nobody twice, and the books are right.
func TestPoint5AFailover(t *testing.T) {
	top := redistest.Topology(t, redisproc.TopologyOptions{Masters: []redisproc.MasterSpec{{Name: "data", Replicas: 2}}, Proxied: true})
	rc := redistest.Config(t, top.URLs()[0])
	h := openHall(t, rc, duel())
	other := openHall(t, rc, duel())
	other.rooms, other.tell.notify = h.rooms, h.notes
	eventually(t, "there are two replicas", func() bool { return h.queues["duel"].shard.Copies() == 2 })
	h.start(nil)
	other.start(nil)
	master, err := top.Current(t.Context(), "data")
	if err != nil {
		t.Fatal(err)
	}
	master.Proxy().SetDelay(200 * time.Millisecond) // so much of what it has will be lost
	c := h.crowd(64)
	eventually(t, "many tickets are taken", func() bool { return c.n.Load() > 200 })
	before := c.n.Load()
	began := time.Now()
	master.Crash()
	master.Proxy().Reset() // what it had sent goes with it
	eventually(t, "there is another master", func() bool {
		now, err := top.Current(t.Context(), "data")
		return err == nil && now != master
	})
	t.Logf("another master after %v", time.Since(began))
	eventually(t, "tickets are taken again", func() bool { return c.n.Load() > before+300 })
	c.stop()
	c.work.Wait()
	eventually(t, "all are matched, but for one", func() bool {
		counts, err := h.Counts(t.Context(), "duel")
		return err == nil && counts.Waiting <= 1
	})
	c.check(t)
}

func (c *crowd) check(t *testing.T) {
	t.Helper()
	counts := c.h.balanced("duel")
	t.Logf("%d were taken, %d tries failed, %+v", len(c.all), len(c.failed), counts)
	without := 0
	for _, x := range c.all {
		rooms := slices.DeleteFunc(c.h.rooms.of(x.Players[0]), func(r string) bool { return slices.Contains(c.h.rooms.closed, r) })
		if len(rooms) > 1 {
			t.Errorf("%s plays in %v", x.ID, rooms)
		}
		if len(rooms) == 0 || len(c.h.notes.told(KindFound, x.Players[0])) == 0 {
			without++
		}
	}
	if without > int(counts.Waiting) || len(c.all) < 500 {
		t.Errorf("of %d, %d were not matched; %d wait", len(c.all), without, counts.Waiting)
	}
}

// Point 5: a ticket that a failover has lost is made again by a heartbeat, under its id
// and with its age. So is nothing else: not a ticket that has ended, nor one that is
// too old, nor one whose player has another one by then.
func TestPoint5AHeartbeatMakesItAgain(t *testing.T) {
	h := newHall(t, duel())
	ctx := t.Context()
	ann := &Ticket{ID: "duel:ann", Players: []hub.UserID{"ann"}, Rating: 7, Labels: []string{"eu"}, Since: time.Now().Add(-20 * time.Second)}
	old := &Ticket{ID: "duel:old", Players: []hub.UserID{"old"}, Since: time.Now().Add(-time.Hour)}
	bob := &Ticket{ID: "duel:bob", Players: []hub.UserID{"bob"}, Since: time.Now()}
	h.put("duel", 0, "cleo")
	if _, err := h.Cancel(ctx, "duel:cleo"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Put(ctx, "duel", &Ticket{ID: "duel:new", Players: bob.Players}, false); err != nil {
		t.Fatal(err)
	}
	signs, err := h.Beat(ctx, "duel", []*Ticket{ann, old, bob, {ID: "duel:cleo", Players: []hub.UserID{"cleo"}}})
	if err != nil || len(signs) != 4 {
		t.Fatalf("%+v, %v", signs, err)
	}
	for i, want := range []Sign{{ID: "duel:ann", Status: Waiting, made: true}, {ID: "duel:old", Status: Expired}, {ID: "duel:new", Status: Waiting}, {ID: "duel:cleo", Status: Canceled}} {
		if signs[i] != want {
			t.Errorf("%+v, want %+v", signs[i], want)
		}
	}
	s, err := h.Get(ctx, "duel:ann")
	if err != nil || s.Rating != 7 || len(s.Labels) != 1 || s.Waited < 20*time.Second || s.Waited > 30*time.Second {
		t.Errorf("%+v, %v", s, err)
	}
	if c := h.balanced("duel"); c.Created != 3 || c.Waiting != 2 {
		t.Errorf("%+v", c)
	}
}
