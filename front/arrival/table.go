package arrival

import (
	"encoding/binary"
	"net/netip"
)

// maxResting is how many addresses without a connection are remembered because
// of their rate, some 8 MB of them. Beyond it the one that rests longest is
// forgotten, and may come at its full burst again.
const maxResting = 1 << 16

// TicksPerSecond is the grain of a Table's clock.
const TicksPerSecond = 10

// Table is the account of one worker's connections. One goroutine owns it. Its
// clock is a number of ticks that never goes back.
type Table[T any] struct {
	limits   Limits
	accounts map[key]*account[T]
	levels   []level[T]              // accounts by their number of pending connections; 0: those at rest
	heaviest int                     // the highest level that is not empty, or 0
	all      list[aged[T], *aged[T]] // pending ones, oldest first
	pending  int
	resting  int
}

// New returns an empty Table.
func New[T any](limits Limits) *Table[T] {
	return &Table[T]{limits: limits, accounts: make(map[key]*account[T]), levels: make([]level[T], 1)}
}

// Pending is the number of connections that have shown no valid token.
func (t *Table[T]) Pending() int { return t.pending }

// Addresses is the number of addresses that are remembered.
func (t *Table[T]) Addresses() int { return len(t.accounts) }

// Arrive takes in a connection from addr as pending; nil when its address has
// opened too many lately. Excess must be asked next.
func (t *Table[T]) Arrive(addr netip.Addr, holder T, now uint32) *Guest[T] {
	t.Forget(now, 2)
	a := t.account(addr, now)
	if !t.charge(a, now) {
		return nil
	}
	g := &Guest[T]{Holder: holder, Addr: addr}
	t.enter(a, g)
	return g
}

// Identify notes that g, which is pending, comes from addr and not from the
// proxy that it was taken for. It reports false when that address has opened too
// many lately; g stays pending either way. Excess must be asked next.
func (t *Table[T]) Identify(g *Guest[T], addr netip.Addr, now uint32) bool {
	t.exit(g)
	a := t.account(addr, now)
	within := t.charge(a, now)
	g.Addr = addr
	t.enter(a, g)
	return within
}

// Excess returns the pending connection that has to go because there are too
// many since g came, of g's address or of all; nil when there are not. That is
// the oldest one of g's address, or the Oldest: those who mean to come in are pending
// for a moment only. It is never g. Its owner closes it and calls Leave.
func (t *Table[T]) Excess(g *Guest[T]) (oldest *Guest[T], why Reason) {
	a := g.account
	switch {
	case !a.trusted && t.limits.AddressPending > 0 && a.pending > t.limits.AddressPending:
		return a.guests.first, AddressPending
	case t.pending > t.limits.Pending:
		return t.Oldest(), Pending
	}
	return nil, ""
}

// few is how many pending connections one client has that polls: a session, and
// connections for a GET and a POST. Who has no more is not taken for the one that has
// most, or a client that polls would have to go for each that has one.
const few = 4

// Oldest returns the oldest pending connection of the address that has most, or of all
// when none has more than a few; nil when there is none.
func (t *Table[T]) Oldest() *Guest[T] {
	switch {
	case t.pending == 0:
		return nil
	case t.heaviest <= few:
		return (*Guest[T])(t.all.first)
	}
	return t.levels[t.heaviest].first.guests.first
}

// Bound changes Limits.Pending. It is the owner's to close those that are too
// many already.
func (t *Table[T]) Bound(pending int) { t.limits.Pending = pending }

// Full reports whether as many connections of g's address are in service as may
// be.
func (t *Table[T]) Full(g *Guest[T]) bool {
	return t.counts(g.account) && g.account.open >= t.limits.Connections
}

// Serve takes note that g, which is pending, has shown a valid token and is not
// refused. Full is asked before.
func (t *Table[T]) Serve(g *Guest[T]) {
	a := g.account
	if !t.counts(a) {
		t.Leave(g)
		return
	}
	a.open++ // first: an account with none rests
	t.exit(g)
	g.account, g.inService = a, true
}

// counts reports whether connections of a in service are counted.
func (t *Table[T]) counts(a *account[T]) bool { return t.limits.Connections > 0 && !a.trusted }

// Leave takes g out. It may be called again, and with nil.
func (t *Table[T]) Leave(g *Guest[T]) {
	if g == nil || g.account == nil {
		return
	}
	switch a := g.account; {
	case g.inService:
		g.account = nil
		if a.open--; a.open == 0 && a.pending == 0 {
			t.rest(a)
		}
	default:
		t.exit(g)
	}
}

// Forget looks at up to budget addresses without a connection, and forgets those
// whose rate need not be remembered any more. It is for every tick, so that
// addresses that have gone cost nothing.
func (t *Table[T]) Forget(now uint32, budget int) {
	for range min(budget, t.resting) {
		a := t.levels[0].first
		if t.limits.Rate == 0 || a.trusted || t.creditOf(a, now) >= float64(t.limits.Burst) {
			t.forget(a)
			continue
		}
		t.levels[0].remove(a)
		t.levels[0].append(a)
	}
}

// charge takes one connection from what a may open now.
func (t *Table[T]) charge(a *account[T], now uint32) bool {
	if t.limits.Rate == 0 || a.trusted {
		return true
	}
	a.credit, a.credited = t.creditOf(a, now), now
	if a.credit < 1 {
		return false
	}
	a.credit--
	return true
}

func (t *Table[T]) creditOf(a *account[T], now uint32) float64 {
	gained := float64(now-a.credited) * float64(t.limits.Rate) / TicksPerSecond
	return min(a.credit+gained, float64(t.limits.Burst))
}

// account returns addr's account, a new one at rest when there is none.
func (t *Table[T]) account(addr netip.Addr, now uint32) *account[T] {
	k := keyOf(addr, t.limits.PrefixBits)
	if a := t.accounts[k]; a != nil {
		return a
	}
	a := &account[T]{key: k, trusted: !addr.IsValid() || t.limits.Trusted.Contains(addr), credit: float64(t.limits.Burst), credited: now}
	t.accounts[k] = a
	t.rest(a)
	return a
}

// rest puts a, which has no connection, among those at rest.
func (t *Table[T]) rest(a *account[T]) {
	t.levels[0].append(a)
	if t.resting++; t.resting > maxResting {
		t.forget(t.levels[0].first)
	}
}

func (t *Table[T]) forget(a *account[T]) {
	t.levels[0].remove(a)
	t.resting--
	delete(t.accounts, a.key)
}

// enter makes g pending at a.
func (t *Table[T]) enter(a *account[T], g *Guest[T]) {
	t.move(a, a.pending+1)
	g.account = a
	a.guests.append(g)
	t.all.append((*aged[T])(g))
	t.pending++
}

// exit ends that g is pending.
func (t *Table[T]) exit(g *Guest[T]) {
	a := g.account
	a.guests.remove(g)
	t.all.remove((*aged[T])(g))
	g.account = nil
	t.move(a, a.pending-1)
	t.pending--
}

// weight is the level of an address with so many pending connections. Those of a trusted
// one are of clients that are not known yet: however many there are, it is not one that
// has most.
func (a *account[T]) weight(pending int) int {
	if a.trusted {
		return min(pending, 1)
	}
	return pending
}

// move notes that a has so many pending connections, one more or less than before, and
// puts it on their level.
func (t *Table[T]) move(a *account[T], pending int) {
	switch {
	case a.pending > 0:
		t.levels[a.weight(a.pending)].remove(a)
	case a.open == 0:
		t.levels[0].remove(a)
		t.resting--
	}
	a.pending = pending
	weight := a.weight(pending)
	if weight == len(t.levels) {
		t.levels = append(t.levels, level[T]{})
	}
	switch {
	case weight > 0:
		t.levels[weight].append(a)
	case a.open == 0:
		t.rest(a)
	}
	t.heaviest = max(t.heaviest, weight)
	if t.heaviest > weight && t.levels[t.heaviest].first == nil {
		t.heaviest--
	}
}

// key names an account: an IPv4 address, or the prefix of an IPv6 address.
type key struct{ high, low uint64 }

func keyOf(addr netip.Addr, prefixBits int) key {
	b := addr.As16() // of an IPv4 address the mapped one
	k := key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	if !addr.Unmap().Is6() {
		return k
	}
	if prefixBits < 64 {
		k.high &= ^uint64(0) << (64 - prefixBits)
	}
	if prefixBits <= 64 {
		k.low = 0
	} else {
		k.low &= ^uint64(0) << (128 - prefixBits)
	}
	return k
}
