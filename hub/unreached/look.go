package unreached

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/hub/inbox"
	"github.com/homing/homing/redisx"
)

// maxData is how many bytes of a notification's data an event has. An event of each
// user has it anew.
const maxData = 4 << 10

// Run looks for users whose time has come, and writes notes that wait, until ctx
// ends. It returns nil.
func (u *Unreached) Run(ctx context.Context) error {
	var looking sync.WaitGroup
	looking.Go(func() { u.writeNotes(ctx) })
	for _, shard := range u.Role.All() {
		looking.Go(func() { u.runOn(ctx, shard) })
	}
	looking.Wait()
	return nil
}

func (u *Unreached) runOn(ctx context.Context, shard *redisx.Shard) {
	every := time.NewTicker(u.timing.look)
	defer every.Stop()
	published := make(map[string]func() bool)
	for {
		if u.Events.Wants(Type) {
			p := &pass{Unreached: u, shard: shard, left: make(map[hub.UserID]bool), published: published}
			if err := p.run(ctx); err != nil && ctx.Err() == nil {
				u.complain("unreached: looking for users who were away", "shard", shard.Name(), "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

const (
	// leftMost is how many may be left in one pass; beyond it the pass ends.
	leftMost = 2000
	// writtenGrain is how often it is looked whether Redis has the events.
	writtenGrain = 2 * time.Millisecond
)

// pass is one look at all of a shard whose time has come. Those of whom nobody can
// say where they are now, or whose event has no place, or is not in Redis yet, are left
// for the next pass, and with them whatever is noted of the same user later: a user's
// events keep their order, and others are not held up.
type pass struct {
	*Unreached
	shard  *redisx.Shard
	left   map[hub.UserID]bool
	offset int // how many are left

	// published has those whose event was published, in this pass or in one before, by
	// what says whether Redis has it: they are not published again.
	published map[string]func() bool
}

// run looks until nobody else is due, or another process has the turn.
func (p *pass) run(ctx context.Context) error {
	for p.offset <= leftMost {
		more, err := p.page(ctx)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// page looks for the next of those whose time has come. It returns false when there
// are no others.
func (p *pass) page(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timing.turn*5/6)
	defer cancel()
	members, err := p.due(ctx)
	if err != nil || len(members) == 0 {
		return false, err
	}
	all, malformed := absences(members)
	p.fate.WithLabelValues(fateMalformed).Add(float64(len(malformed)))
	v, err := p.judge(ctx, all)
	if err != nil {
		return false, err
	}
	p.await(ctx, &v)
	v.settled = append(v.settled, malformed...)
	if err := p.settle(ctx, v.settled); err != nil {
		return false, err
	}
	for _, member := range v.settled {
		delete(p.published, member.(string))
	}
	p.count(v)
	p.offset += len(members) - len(v.settled)
	return len(members) == atOnce, nil
}

// await waits, for a moment, until Redis has the events of v. Those that it has are
// settled, the others left.
func (p *pass) await(ctx context.Context, v *verdict) {
	ctx, cancel := context.WithTimeout(ctx, p.timing.turn/6)
	defer cancel()
	for _, a := range v.tell {
		written := p.published[a.member]
		for !written() && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(writtenGrain):
			}
		}
		if p.left[a.User] || !written() {
			p.left[a.User] = true
			continue
		}
		v.told++
		v.settled = append(v.settled, a.member)
	}
}

// due lists the next whose time has come; none when another process has the turn.
func (p *pass) due(ctx context.Context) (members []string, err error) {
	var reply []any
	err = p.shard.Write(ctx, func(ctx context.Context, c *redis.Client) (err error) {
		keys := []string{p.Keys.Unreached(), p.Keys.UnreachedTurn()}
		reply, err = dueScript.Run(ctx, c, keys, p.token, p.timing.turn.Milliseconds(), p.offset, atOnce).Slice()
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(reply) == 0 || reply[0] != int64(1) {
		clear(p.published) // another process goes on
		return nil, nil
	}
	for _, m := range reply[1:] {
		text, _ := m.(string)
		members = append(members, text)
	}
	return members, nil
}

// verdict says what has become of some absences.
type verdict struct {
	settled []any     // to be forgotten
	tell    []absence // likewise, once Redis has their events

	told, online, acknowledged int
}

// judge looks at inboxes and the index, and publishes the events of those who are
// away.
func (p *pass) judge(ctx context.Context, all []absence) (v verdict, err error) {
	wants := make([]inbox.Want, len(all))
	for i, a := range all {
		wants[i] = a.Want
	}
	held, err := p.Inbox.Held(ctx, wants)
	if err != nil {
		return verdict{}, err
	}
	places, err := p.places(ctx, all, held)
	if err != nil {
		return verdict{}, err
	}
	for i, a := range all {
		place := places[i]
		switch {
		case p.left[a.User]:
			continue
		case held[i] == nil:
			v.acknowledged++
		case place == online:
			v.online++
		case place == unknown || !p.publish(a, held[i]):
			p.left[a.User] = true
			continue
		default:
			v.tell = append(v.tell, a)
			continue
		}
		v.settled = append(v.settled, a.member)
	}
	return v, nil
}

// publish publishes the event of a, unless that was done. It reports false when there is
// no place.
func (p *pass) publish(a absence, held *hub.Stored) bool {
	if p.published[a.member] != nil {
		return true
	}
	if !p.Events.Publish(eventOf(a, held)) {
		return false
	}
	p.published[a.member] = p.Events.Written(string(a.User))
	return true
}

// place is where a user is.
type place uint8

const (
	away place = iota
	online
	unknown // the data shard does not answer
)

// places looks the users up whose notifications are held, on the services that each
// was for.
func (u *Unreached) places(ctx context.Context, all []absence, held []*hub.Stored) ([]place, error) {
	groups := make(map[string][]int) // by services
	for i, h := range held {
		if h != nil {
			services := joined(h.Services)
			groups[services] = append(groups[services], i)
		}
	}
	places := make([]place, len(all))
	for _, group := range groups {
		at := make(map[hub.UserID]place)
		users := make([]hub.UserID, 0, len(group))
		for _, i := range group {
			if _, seen := at[all[i].User]; !seen {
				at[all[i].User] = away
				users = append(users, all[i].User)
			}
		}
		if err := u.locate(ctx, users, held[group[0]].Services, at); err != nil {
			return nil, err
		}
		for _, i := range group {
			places[i] = at[all[i].User]
		}
	}
	return places, nil
}

func joined(services []hub.Service) string {
	var b strings.Builder
	for _, s := range services {
		b.WriteString(string(s) + " ")
	}
	return b.String()
}

func (u *Unreached) locate(ctx context.Context, users []hub.UserID, services []hub.Service, at map[hub.UserID]place) error {
	where, err := u.Index.LocateNow(ctx, users, services)
	if err != nil && !errors.Is(err, hub.ErrUnavailable) {
		return err
	}
	if err != nil { // not one shard answers
		for _, user := range users {
			at[user] = unknown
		}
		return nil
	}
	for _, user := range where.Unavailable {
		at[user] = unknown
	}
	for _, g := range where.Groups {
		for _, user := range g.Users {
			at[user] = online
		}
	}
	return nil
}

// body is the data of an event.
type body struct {
	Notification notification `json:"notification"`
	Users        []hub.UserID `json:"users"`
}

// notification is what an event says of a notification.
type notification struct {
	ID   string          `json:"id"`
	Type string          `json:"type,omitempty"`
	From string          `json:"from,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// eventOf is the event of one user. Its id is the same whoever publishes it.
func eventOf(a absence, held *hub.Stored) hook.Event {
	var n notification
	if err := json.Unmarshal(held.Payload, &n); err != nil || len(n.Data) > maxData {
		n.Data = nil
	}
	n.ID = a.ID
	sum := sha256.Sum256([]byte(a.member))
	return hook.Event{
		Type: Type, Subject: string(a.User), ID: "unr_" + hex.EncodeToString(sum[:16]),
		Data: body{Notification: n, Users: []hub.UserID{a.User}},
	}
}

func (u *Unreached) count(v verdict) {
	u.fate.WithLabelValues(fateOnline).Add(float64(v.online))
	u.fate.WithLabelValues(fateAcknowledged).Add(float64(v.acknowledged))
	u.fate.WithLabelValues(fateTold).Add(float64(v.told))
}

// settle takes out what is settled.
func (p *pass) settle(ctx context.Context, settled []any) error {
	if len(settled) == 0 {
		return nil
	}
	return p.shard.Write(ctx, func(ctx context.Context, c *redis.Client) error {
		return c.ZRem(ctx, p.Keys.Unreached(), settled...).Err()
	})
}
