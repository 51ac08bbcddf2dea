package arrival

import "net/netip"

// Guest is one connection in a Table. T names it for the table's owner.
type Guest[T any] struct {
	Holder T
	Addr   netip.Addr // where it comes from, as far as is known

	account    *account[T]
	prev, next *Guest[T] // among those of the account that are pending
	inService  bool
}

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
// that its number of pending connections names, unless nothing is pending and
// some are in service.
type account[T any] struct {
	key      key
	trusted  bool
	pending  int
	open     int     // in service; only counted when there is a limit
	credit   float64 // connections that may come at once now
	credited uint32  // tick up to which credit is given

	first, last *Guest[T] // pending ones, oldest first
	prev, next  *account[T]
}

// append makes g the youngest that is pending.
func (a *account[T]) append(g *Guest[T]) {
	g.account, g.prev, g.next = a, a.last, nil
	if a.last == nil {
		a.first = g
	} else {
		a.last.next = g
	}
	a.last = g
}

func (a *account[T]) remove(g *Guest[T]) {
	if g.prev == nil {
		a.first = g.next
	} else {
		g.prev.next = g.next
	}
	if g.next == nil {
		a.last = g.prev
	} else {
		g.next.prev = g.prev
	}
	g.prev, g.next = nil, nil
}

// level is a list of accounts, in the order in which they came to it.
type level[T any] struct{ first, last *account[T] }

func (l *level[T]) append(a *account[T]) {
	a.prev, a.next = l.last, nil
	if l.last == nil {
		l.first = a
	} else {
		l.last.next = a
	}
	l.last = a
}

func (l *level[T]) remove(a *account[T]) {
	if a.prev == nil {
		l.first = a.next
	} else {
		a.prev.next = a.next
	}
	if a.next == nil {
		l.last = a.prev
	} else {
		a.next.prev = a.prev
	}
	a.prev, a.next = nil, nil
}
