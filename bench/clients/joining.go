package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"github.com/homing/homing/bench/child"
)

const (
	// joinsUnderWay is how many subscribes one process has under way at a time.
	joinsUnderWay = 256
	joinPatience  = 20 * time.Second // from the last answer
)

// Joins say which topic each client subscribes to: the one with its number, divided by
// Of; 0: one of its own.
type Joins struct {
	Name string // what the topics' names begin with
	Turn int    // is added to the number
	Of   int
}

// topic is the one of a client.
func (j Joins) topic(number int) string {
	if j.Of > 0 {
		number = (number + j.Turn) % j.Of
	}
	return j.Name + strconv.Itoa(number)
}

// Join has every client subscribe to a topic, in Homing's protocol, and returns when
// all have been told that they are members.
func (h *Hive) Join(ctx context.Context, j Joins) error {
	return h.each(func(_ int, p *child.Process) error { return p.Call(ctx, "join", j, nil, nil) })
}

// joining is a join call in progress.
type joining struct {
	req    child.Request
	engine *engine
	joins  Joins
	next   int // client to ask next
	left   int // answers that were to come when one came last
	moved  time.Time
}

func newJoining(r child.Request, e *engine) *joining {
	j := &joining{req: r, engine: e, moved: time.Now()}
	if err := r.Read(&j.joins); err != nil {
		r.Fail(err)
		j.next = len(e.bees) + 1 // nothing is to be done
	}
	e.joins = 0
	return j
}

var errNotJoined = errors.New("not told to be a member")

// step asks for what may be asked for now. It answers the call, and reports true, when
// all are answered or some are not for too long.
func (j *joining) step() (done bool) {
	e := j.engine
	if j.next > len(e.bees) {
		return true
	}
	for j.next < len(e.bees) && e.joins < joinsUnderWay {
		if e.bees[j.next].state == open {
			e.joins++
			topic := j.joins.topic(e.swarm.First + j.next)
			if err := e.say(j.next, ws.OpText, []byte(`{"t":"subscribe","topic":"`+topic+`"}`)); err != nil {
				e.joins--
				e.fail(j.next, err)
			}
		}
		j.next++
	}
	if e.joins != j.left {
		j.left, j.moved = e.joins, time.Now()
	}
	switch {
	case j.next == len(e.bees) && e.joins == 0:
		j.req.Reply(nil)
		return true
	case time.Since(j.moved) > joinPatience:
		j.req.Fail(fmt.Errorf("%d clients: %w", e.joins, errNotJoined))
		return true
	}
	return false
}
