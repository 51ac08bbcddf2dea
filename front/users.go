package front

import (
	"cmp"
	"slices"
	"strings"

	"github.com/homing/homing/front/auth"
	"github.com/homing/homing/hub"
)

// users finds the connections of a user: the map holds the first, each links
// the next. Owned by the loop.
type users struct {
	first    map[hub.UserID]*conn
	services map[hub.Service]hub.Service // one copy of each name
	joined   uint64                      // connections that were ever added
}

// maxServiceNames bounds the table of names; further ones are kept per connection.
const maxServiceNames = 4096

func newUsers() users {
	return users{first: make(map[hub.UserID]*conn), services: make(map[hub.Service]hub.Service)}
}

// add registers c under the identity of its token, whose strings it does not
// keep alive: they are parts of the token.
func (u *users) add(c *conn, id auth.Identity) {
	c.service = u.intern(id.Service)
	u.joined++
	c.joined = u.joined
	if head := u.first[id.User]; head != nil {
		c.user = head.user
		c.next, head.next = head.next, c
		return
	}
	c.user = hub.UserID(strings.Clone(string(id.User)))
	u.first[c.user] = c
}

func (u *users) intern(s hub.Service) hub.Service {
	if s == "" {
		return ""
	}
	if known, ok := u.services[s]; ok {
		return known
	}
	s = hub.Service(strings.Clone(string(s)))
	if len(u.services) < maxServiceNames {
		u.services[s] = s
	}
	return s
}

// remove undoes add.
func (u *users) remove(c *conn) {
	head := u.first[c.user]
	switch {
	case head != c:
		for head.next != c {
			head = head.next
		}
		head.next = c.next
	case c.next != nil:
		u.first[c.next.user] = c.next
	default:
		delete(u.first, c.user)
	}
	c.next, c.user = nil, ""
}

// counts is what the index is told about a user: its connections per service,
// by name. Empty when there are none.
func (u *users) counts(user hub.UserID) []hub.ServiceCount {
	var out []hub.ServiceCount
	for c := u.first[user]; c != nil; c = c.next {
		i := slices.IndexFunc(out, func(s hub.ServiceCount) bool { return s.Service == c.service })
		if i < 0 {
			out = append(out, hub.ServiceCount{Service: c.service, Count: 1})
			continue
		}
		out[i].Count++
	}
	slices.SortFunc(out, func(a, b hub.ServiceCount) int { return cmp.Compare(a.Service, b.Service) })
	return out
}
