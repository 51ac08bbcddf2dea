package room

import (
	"slices"

	"github.com/homing/homing/hub"
)

// Audience is who may read something. Nobody else receives a byte of it. It names
// users, not seats: who sits on a seat next is another.
type Audience struct {
	all   bool // everybody but users; else users only
	users []hub.UserID
}

// Everyone is all members, those who come later too.
func Everyone() Audience { return Audience{all: true} }

// Others is everyone but m.
func Others(m Member) Audience { return Audience{all: true, users: []hub.UserID{m.User}} }

// Only is the members given.
func Only(members ...Member) (a Audience) {
	for _, m := range members {
		a.users = append(a.users, m.User)
	}
	return a
}

// same reports whether a and b are the same, as they were made.
func (a *Audience) same(b *Audience) bool { return a.all == b.all && slices.Equal(a.users, b.users) }

// has reports whether user may read it.
func (a *Audience) has(user hub.UserID) bool { return slices.Contains(a.users, user) != a.all }
