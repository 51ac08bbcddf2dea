package arrival

import "net/netip"

// Guest is one connection in a Table. T names it for the table's owner.
type Guest[T any] struct {
	Holder T
	Addr   netip.Addr // where it comes from, as far as is known

	account   *account[T]
	links     links[Guest[T]] // among those of the account that are pending
	age       links[aged[T]]  // among all that are
	inService bool
}

// aged is a Guest among all that are pending.
type aged[T any] Guest[T]

func (g *aged[T]) at() *links[aged[T]] { return &g.age }

// Owner is whose g is while it is pending, to compare with that of others: those
// of one address have one owner, and everyone behind a trusted address has its
// own.
func (g *Guest[T]) Owner() any {
	if g.account.trusted {
		return g
	}
	return g.account
}

// account is one address, or one prefix of IPv6. It is on the list of the level
// that its number of pending connections names (see weight), unless nothing is pending
// and some are in service.
type account[T any] struct {
	key      key
	trusted  bool
	pending  int
	open     int     // in service; only counted when there is a limit
	credit   float64 // connections that may come at once now
	credited uint32  // tick up to which credit is given

	guests list[Guest[T], *Guest[T]] // pending ones, oldest first
	links  links[account[T]]
}

// level is the accounts with one number of pending connections, in the order in
// which they came to it.
type level[T any] struct{ list[account[T], *account[T]] }

func (g *Guest[T]) at() *links[Guest[T]]     { return &g.links }
func (a *account[T]) at() *links[account[T]] { return &a.links }
