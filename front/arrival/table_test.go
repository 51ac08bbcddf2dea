package arrival

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/homing/homing/front/forwarded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	home  = netip.MustParseAddr("192.0.2.1")
	other = netip.MustParseAddr("192.0.2.2")
	proxy = netip.MustParseAddr("10.0.0.1")
)

func trusted(tb testing.TB) forwarded.Trusted {
	tb.Helper()
	list, err := forwarded.ParseTrusted([]string{"10.0.0.0/8"})
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func newTable(tb testing.TB, change func(*Limits)) *Table[int] {
	tb.Helper()
	l := Limits{Pending: 100, AddressPending: 10, Rate: 20, Burst: 5, PrefixBits: 64, Trusted: trusted(tb)}
	if change != nil {
		change(&l)
	}
	return New[int](l)
}

func TestAnAddressMayOpenItsBurstAndThenItsRate(t *testing.T) {
	table := newTable(t, nil)
	arrivals := func(addr netip.Addr, now uint32, n int) (in int) {
		for range n {
			if table.Arrive(addr, 0, now) != nil {
				in++
			}
		}
		return in
	}
	for _, c := range []struct {
		addr    netip.Addr
		now     uint32
		n, want int
	}{
		{home, 1, 9, 5},  // the burst
		{other, 1, 4, 4}, // is each address's own
		{home, 2, 9, 2},  // a tick's share of 20 per second
		{home, 4, 9, 4},
		{home, 1000, 9, 5}, // never more than the burst
		{proxy, 1000, 50, 50},
		{netip.Addr{}, 1000, 50, 50}, // nobody knows whose these are
	} {
		if got := arrivals(c.addr, c.now, c.n); got != c.want {
			t.Errorf("%d from %v at %d: %d let in, want %d", c.n, c.addr, c.now, got, c.want)
		}
	}
}

func TestAPrefixOfIPv6CountsAsOneAddress(t *testing.T) {
	for _, c := range []struct {
		bits int
		a, b string
		same bool
	}{
		{64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:ffff::", true},
		{64, "2001:db8:1:2::", "2001:db8:1:3::", false},
		{48, "2001:db8:1:2::", "2001:db8:1:3::", true},
		{48, "2001:db8:1:2::", "2001:db8:2:2::", false},
		{96, "2001:db8::1:0:1", "2001:db8::1:0:2", true},
		{96, "2001:db8::1:0:1", "2001:db8::2:0:1", false},
		{128, "2001:db8::1", "2001:db8::2", false},
		{1, "8000::", "ffff::", true},
		{1, "192.0.2.1", "192.0.2.2", false},
		{64, "192.0.2.1", "::ffff:192.0.2.1", true},
	} {
		a, b := keyOf(netip.MustParseAddr(c.a), c.bits), keyOf(netip.MustParseAddr(c.b), c.bits)
		if (a == b) != c.same {
			t.Errorf("/%d: %s and %s: %v, %v", c.bits, c.a, c.b, a, b)
		}
	}
}

// arrive takes n in from addr and expects no excess.
func arrive(t *testing.T, table *Table[int], addr netip.Addr, holders ...int) (last *Guest[int]) {
	t.Helper()
	for _, h := range holders {
		if last = table.Arrive(addr, h, 1); last == nil {
			t.Fatalf("%d from %v is refused", h, addr)
		}
		if out, why := table.Excess(last); out != nil {
			t.Fatalf("%d has to go: %s", out.Holder, why)
		}
	}
	return last
}

func TestTheOldestOfAnAddressWithTooManyPendingGoes(t *testing.T) {
	table := newTable(t, func(l *Limits) { l.AddressPending, l.Rate = 3, 0 })
	arrive(t, table, other, 9)
	arrive(t, table, home, 1, 2, 3)
	for i := 4; i < 7; i++ {
		out, why := table.Excess(table.Arrive(home, i, 1))
		if out == nil || out.Holder != i-3 || why != AddressPending {
			t.Fatalf("with %d: %v, %s; want %d", i, out, why, i-3)
		}
		table.Leave(out)
	}
	arrive(t, table, proxy, 1, 2, 3, 4, 5)
}

func TestTheOldestOfTheAddressWithMostPendingGoes(t *testing.T) {
	table := newTable(t, func(l *Limits) { l.Pending, l.Rate = 7, 0 })
	arrive(t, table, other, 1)
	arrive(t, table, home, 2, 3, 4, 5, 6)
	arrive(t, table, proxy, 7)
	out, why := table.Excess(table.Arrive(other, 8, 1))
	if out == nil || out.Holder != 2 || why != Pending {
		t.Fatalf("%v, %s; want 2", out, why)
	}
	table.Leave(out)
	if out, _ := table.Excess(table.Arrive(netip.MustParseAddr("192.0.2.4"), 9, 1)); out == nil || out.Holder != 1 {
		t.Errorf("%v; want the oldest of all, as nobody has more than a few", out)
	}
}

// TestAProxyIsNotTheOneThatHasMost has connections of a trusted proxy, whose clients are
// not known yet, not go because they are many.
func TestAProxyIsNotTheOneThatHasMost(t *testing.T) {
	table := newTable(t, func(l *Limits) { l.Pending, l.Rate = 12, 0 })
	arrive(t, table, other, 1)
	arrive(t, table, proxy, 2, 3, 4, 5, 6, 7, 8)
	arrive(t, table, home, 9, 10, 11, 12)
	for _, want := range []int{1, 2} {
		out, why := table.Excess(table.Arrive(netip.MustParseAddr("192.0.2.4"), 13, 1))
		if out == nil || out.Holder != want || why != Pending {
			t.Fatalf("%v, %s; want %d, the oldest of all", out, why, want)
		}
		table.Leave(out)
	}
	if out, _ := table.Excess(table.Arrive(home, 14, 1)); out == nil || out.Holder != 9 {
		t.Errorf("%v; want the oldest of who has more than a few", out)
	}
}

func TestConnectionsInServiceAreLimited(t *testing.T) {
	table := newTable(t, func(l *Limits) { l.Connections = 2 })
	a, b, c := arrive(t, table, home, 1), arrive(t, table, home, 2), arrive(t, table, home, 3)
	serve := func(g *Guest[int]) bool {
		full := table.Full(g)
		if !full {
			table.Serve(g)
		}
		return !full
	}
	if !serve(a) || !serve(b) || serve(c) {
		t.Fatal("want two served, and not a third")
	}
	if !serve(arrive(t, table, other, 4)) || table.Pending() != 1 {
		t.Errorf("%d pending; want another address served", table.Pending())
	}
	table.Leave(a)
	table.Leave(a)
	if !serve(c) || table.Pending() != 0 {
		t.Error("the third is refused though one has left")
	}
	for i := range 5 {
		if !serve(arrive(t, table, proxy, i)) {
			t.Error("a trusted address is limited")
		}
	}
}

func TestAClientBehindAProxyIsChargedItself(t *testing.T) {
	table := newTable(t, nil)
	for i := range 7 {
		g := arrive(t, table, proxy, i)
		if got, want := table.Identify(g, home, 1), i < 5; got != want || g.Addr != home {
			t.Errorf("%d: %v, of %v", i, got, g.Addr)
		}
	}
	if g := arrive(t, table, proxy, 8); !table.Identify(g, other, 1) {
		t.Error("another client pays for the first")
	}
}

func TestAddressesThatHaveGoneAreForgotten(t *testing.T) {
	table := newTable(t, func(l *Limits) { l.Connections = 5 })
	served := arrive(t, table, other, 1)
	table.Serve(served)
	busy := netip.MustParseAddr("192.0.2.9")
	table.Leave(table.Arrive(busy, 0, 1))
	for i := range 100 {
		table.Leave(table.Arrive(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 0, 1))
	}
	for range 8 {
		table.Arrive(home, 0, 1)
	}
	table.Forget(1, 1000)
	if n := table.Addresses(); n < 100 {
		t.Errorf("%d remembered while their rate counts", n)
	}
	for range 8 { // from an address that does not give up, and keeps the others from nothing
		table.Leave(table.Arrive(busy, 0, 100))
	}
	table.Forget(100, 1000)
	if n := table.Addresses(); n != 3 {
		t.Errorf("%d remembered, want the two that have connections and the busy one", n)
	}
	table.Leave(served)
	table.Forget(200, 1000)
	if n := table.Addresses(); n != 1 {
		t.Errorf("%d remembered, want one", n)
	}
}

func TestAddressesAtRestAreBounded(t *testing.T) {
	table := newTable(t, nil)
	for i := range uint32(maxResting + 1000) {
		table.Leave(table.Arrive(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 0, 1))
	}
	if n := table.Addresses(); n != maxResting {
		t.Errorf("%d remembered, want %d", n, maxResting)
	}
}

// check reports what does not fit together in table.
func check(table *Table[int]) error {
	pending, resting, heaviest := 0, 0, 0
	listed := map[*account[int]]bool{}
	for n, l := range table.levels {
		for a := l.first; a != nil; a = a.links.next {
			level := a.pending
			if a.trusted {
				level = min(level, 1)
			}
			if level != n || listed[a] || table.accounts[a.key] != a || n == 0 && a.open > 0 {
				return fmt.Errorf("account %+v on level %d", a, n)
			}
			listed[a] = true
			count := 0
			for g := a.guests.first; g != nil; g = g.links.next {
				count++
			}
			if count != a.pending {
				return fmt.Errorf("%d guests on level %d", count, n)
			}
			if pending += count; n == 0 {
				resting++
			}
			heaviest = max(heaviest, n)
		}
	}
	for _, a := range table.accounts {
		if !listed[a] && (a.pending > 0 || a.open == 0) {
			return fmt.Errorf("account %+v on no level", a)
		}
	}
	if pending != table.pending || resting != table.resting || heaviest != table.heaviest {
		return fmt.Errorf("pending %d, resting %d, heaviest %d; counted %d, %d, %d", table.pending, table.resting, table.heaviest, pending, resting, heaviest)
	}
	return nil
}

// TestAnyOrderOfEventsKeepsTheAccount does everything at random and compares
// with a plain count.
func TestAnyOrderOfEventsKeepsTheAccount(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := newTable(t, func(l *Limits) { l.Pending, l.AddressPending, l.Connections = 30, 8, 10 })
	var all []*Guest[int]
	addr := func() netip.Addr {
		return netip.AddrFrom4([4]byte{byte(10 + rng.IntN(2)*182), 0, 2, byte(rng.IntN(6))})
	}
	leave := func(g *Guest[int]) {
		table.Leave(g)
		for i := range all {
			if all[i] == g {
				all = append(all[:i], all[i+1:]...)
				return
			}
		}
		t.Fatal("somebody has to go who is not there")
	}
	for step := range 20_000 {
		now := uint32(step / 20)
		table.Forget(now, rng.IntN(3))
		var came *Guest[int]
		switch n := rng.IntN(8); {
		case n < 4:
			if came = table.Arrive(addr(), step, now); came != nil {
				all = append(all, came)
			}
		case len(all) == 0:
		case n < 5:
			if g := all[rng.IntN(len(all))]; g.account != nil && !g.inService {
				table.Identify(g, addr(), now)
				came = g
			}
		case n < 7:
			if g := all[rng.IntN(len(all))]; g.account != nil && !g.inService && !table.Full(g) {
				table.Serve(g)
			}
		default:
			leave(all[rng.IntN(len(all))])
		}
		if came != nil {
			if out, _ := table.Excess(came); out == came {
				t.Fatal("who came has to go")
			} else if out != nil {
				leave(out)
			}
		}
		if err := check(table); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		if table.Pending() > 30 {
			t.Fatalf("step %d: %d pending", step, table.Pending())
		}
	}
}

// BenchmarkConnect is what a connection costs from accept to service: the first
// of its address, and one of many of an address.
func BenchmarkConnect(b *testing.B) {
	for name, addresses := range map[string]uint32{"one address": 1, "100,000 addresses": 100_000} {
		b.Run(name, func(b *testing.B) {
			table := newTable(b, func(l *Limits) { l.Pending, l.AddressPending, l.Rate, l.Burst = 4096, 256, 1<<20, 1<<20 })
			b.ReportAllocs()
			for i := range uint32(b.N) {
				n := i % addresses
				g := table.Arrive(netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)}), 0, i/1000)
				table.Excess(g)
				table.Serve(g)
			}
		})
	}
}

// BenchmarkFlood is what a connection costs that never shows a token, when all
// room is taken.
func BenchmarkFlood(b *testing.B) {
	table := newTable(b, func(l *Limits) { l.Pending, l.AddressPending, l.Rate = 4096, 256, 0 })
	b.ReportAllocs()
	for i := range uint32(b.N) {
		g := table.Arrive(netip.AddrFrom4([4]byte{100, 0, byte(i >> 3), byte(i)}), 0, i/1000)
		if out, _ := table.Excess(g); out != nil {
			table.Leave(out)
		}
	}
}
