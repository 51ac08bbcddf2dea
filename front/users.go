package front

import (
	"slices"
	"strings"
	"unique"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/hub"
)

// users finds the connections of a user: the map holds the newest, which links
// the older ones. All that is done for one connection takes constant time,
// however many its user has. Owned by the loop.
type users struct {
	newest map[hub.UserID]*conn
	joined uint64    // connections that were ever added
	absent absentees // what users who have left had used

	delivery, closing walk
}

// group is what the connections of a user have in common: of one that has
// several, or that came back before all it had used was made good.
type group struct {
	size     int
	oldest   *conn
	services []serviceCount // in no order
	used     usage
	resuming int // connections that resume now
}

type serviceCount struct {
	service serviceName
	count   int
}

// serviceName is a service in the size of a pointer; its zero value is none.
type serviceName struct{ unique.Handle[hub.Service] }

func newServiceName(s hub.Service) serviceName {
	if s == "" {
		return serviceName{}
	}
	return serviceName{unique.Make(s)}
}

func (s serviceName) name() hub.Service {
	if s == (serviceName{}) {
		return ""
	}
	return s.Value()
}

func newUsers() users {
	return users{newest: make(map[hub.UserID]*conn), absent: newAbsentees()}
}

// count is how many connections a user has.
func (u *users) count(user hub.UserID) int {
	c := u.newest[user]
	if c == nil {
		return 0
	}
	if g := c.State.group(); g != nil {
		return g.size
	}
	return 1
}

// oldest is the connection of a user that was added first; nil: it has none.
func (u *users) oldest(user hub.UserID) *conn {
	c := u.newest[user]
	if c == nil || c.State.group() == nil {
		return c
	}
	return c.State.group().oldest
}

// add registers c under the identity of its token, whose strings it does not
// keep alive: they are parts of the token.
func (u *users) add(c *conn, id auth.Identity) {
	s := &c.State.session
	s.service = newServiceName(id.Service)
	u.joined++
	s.joined = u.joined
	if newest := u.newest[id.User]; newest != nil {
		s.user = newest.State.user
		u.join(c, newest)
		return
	}
	s.user = hub.UserID(strings.Clone(string(id.User)))
	if used, ok := u.absent.take(s.user); ok {
		s.more().group = newGroup(c, used)
	}
	u.newest[s.user] = c
}

// newGroup is the group of c alone, whose user has used so much.
func newGroup(c *conn, used usage) *group {
	g := &group{size: 1, oldest: c, used: used}
	g.count(c.State.service, 1)
	return g
}

// join adds c to the group of newest, which may not have one yet.
func (u *users) join(c, newest *conn) {
	g := newest.State.group()
	if g == nil {
		g = newGroup(newest, newest.State.used)
		newest.State.more().group = g
		if newest.State.resuming().counts() {
			g.resuming = 1
		}
	}
	g.size++
	g.count(c.State.service, 1)
	e := c.State.more()
	e.older, e.group = newest, g
	newest.State.extra.newer = c
	u.newest[c.State.user] = c
}

// count adds n to the connections of a service.
func (g *group) count(service serviceName, n int) {
	i := slices.IndexFunc(g.services, func(s serviceCount) bool { return s.service == service })
	if i < 0 {
		g.services = append(g.services, serviceCount{service, n})
		return
	}
	if g.services[i].count += n; g.services[i].count == 0 {
		g.services = slices.Delete(g.services, i, i+1)
	}
}

// used is what a user has used, whether it is connected or has left lately.
func (u *users) used(user hub.UserID) usage {
	c := u.newest[user]
	if c == nil {
		return u.absent.users[user].used
	}
	if g := c.State.group(); g != nil {
		return g.used
	}
	return c.State.used
}

// keep notes what a user has used without a connection. It returns how many others
// that were away are forgotten for it.
func (u *users) keep(user hub.UserID, used usage, now loop.Tick) (evicted int) {
	switch c := u.newest[user]; {
	case c == nil:
		return u.absent.add(hub.UserID(strings.Clone(string(user))), used, now)
	case c.State.group() != nil:
		c.State.group().used = used
	default:
		c.State.used = used
	}
	return 0
}

// remove undoes add. What the user had used is remembered when c was its last
// connection; evicted is how many others that were away are forgotten for it.
func (u *users) remove(c *conn, now loop.Tick) (evicted int) {
	u.delivery.skip(c)
	u.closing.skip(c)
	s := &c.State.session
	if g := s.group(); g != nil && g.size > 1 {
		u.leave(c)
	} else {
		evicted = u.absent.add(s.user, u.used(s.user), now)
		delete(u.newest, s.user)
	}
	s.user = ""
	if e := s.extra; e != nil {
		e.newer, e.older, e.group = nil, nil, nil
		s.spare()
	}
	return evicted
}

// leave takes c out of a group that has others.
func (u *users) leave(c *conn) {
	e := c.State.extra
	e.group.size--
	e.group.count(c.State.service, -1)
	if e.newer != nil {
		e.newer.State.extra.older = e.older
	} else {
		u.newest[c.State.user] = e.older
	}
	if e.older != nil {
		e.older.State.extra.newer = e.newer
	} else {
		e.group.oldest = e.newer
	}
}

// counts is what the index is told about a user: its connections per service,
// by name. Empty when there are none.
func (u *users) counts(user hub.UserID) []hub.ServiceCount {
	c := u.newest[user]
	if c == nil {
		return nil
	}
	g := c.State.group()
	if g == nil {
		return []hub.ServiceCount{{Service: c.State.service.name(), Count: 1}}
	}
	services := g.services
	out := make([]hub.ServiceCount, 0, len(services))
	for _, s := range services {
		out = append(out, hub.ServiceCount{Service: s.service.name(), Count: s.count})
	}
	slices.SortFunc(out, func(a, b hub.ServiceCount) int { return strings.Compare(string(a.Service), string(b.Service)) })
	return out
}

// walk visits the connections of one user, from the newest to the oldest. It
// may take several turns of the loop: those that leave meanwhile are left out,
// those that come are not met.
type walk struct{ at *conn }

// begin starts with the newest connection of user.
func (v *walk) begin(u *users, user []byte) { v.at = u.newest[hub.UserID(user)] }

// next returns the next connection; nil: that was all.
func (v *walk) next() *conn {
	c := v.at
	v.skip(c)
	return c
}

// skip goes on behind c if c would be next.
func (v *walk) skip(c *conn) {
	if c == nil || v.at != c {
		return
	}
	v.at = c.State.older()
}
