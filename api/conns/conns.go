// Package conns bounds the connections of an HTTP server: all of them, and
// those of one address that have not shown an API key yet. Such a caller is a
// stranger. What a stranger may cost is little: few connections, and few
// answers per second. Answers that no key pays for are also paced for callers
// who have shown one.
//
// Of too many connections the stranger's goes that has been one for longest:
// whoever has a key shows it at once, and so nobody shuts those out by staying.
package conns

import (
	"container/list"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Config bounds connections. Both must be above zero.
type Config struct {
	Most      int // connections in all
	Strangers int // connections of one address that have not shown a key
}

const (
	// strangerRate is how many answers per second strangers at one address get
	// without waiting.
	strangerRate = 100
	// restTime is how long an address without connections is remembered: by then
	// it has made good what it has had.
	restTime = time.Second
	// prefix6 is how many bits of an IPv6 address name one caller: a host has a
	// /64 to itself.
	prefix6 = 64
)

// Reason says why a connection was closed, as a label of a metric.
type Reason string

// The reasons.
const (
	ReasonTotal   Reason = "total"   // too many connections
	ReasonAddress Reason = "address" // too many of this address without a key
)

// Reasons lists every reason.
func Reasons() []Reason { return []Reason{ReasonTotal, ReasonAddress} }

// Table knows every open connection of one server. It is safe for concurrent
// use.
type Table struct {
	cfg     Config
	refused func(Reason)

	mu        sync.Mutex
	open      int
	strangers map[netip.Addr]*address
	waiting   list.List // of *Conn: all strangers, the oldest first
	resting   list.List // of departure: addresses whose last stranger has left, first come first
}

// address is what strangers at one address take up.
type address struct {
	waiting list.List // of *Conn, the oldest first
	unpaid  *rate.Limiter
	left    time.Time // when the last of them left, while there is none
}

// departure is when the last stranger of an address left.
type departure struct {
	from netip.Addr
	at   time.Time
}

// NewTable returns an empty table. refused is told of every connection that is
// closed for want of room; it must not block.
func NewTable(cfg Config, refused func(Reason)) *Table {
	return &Table{cfg: cfg, refused: refused, strangers: make(map[netip.Addr]*address)}
}

// Open is how many connections are open, and how many of them strangers have.
func (t *Table) Open() (all, strangers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open, t.waiting.Len()
}

// Listener returns ln, of whose connections those are closed that are too many.
func (t *Table) Listener(ln net.Listener) net.Listener { return &listener{Listener: ln, table: t} }

type listener struct {
	net.Listener
	table *Table
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		known, out := l.table.enter(c)
		if out != nil {
			_ = out.Close()
		}
		if known != nil {
			return known, nil
		}
	}
}

// enter counts c, and returns what is to be closed for it: another, when that has
// been a stranger for longest, or c itself, which is not counted then.
func (t *Table) enter(c net.Conn) (in *Conn, out net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetLocked(time.Now())
	from := callerOf(c)
	switch a := t.strangers[from]; {
	case a != nil && a.waiting.Len() >= t.cfg.Strangers:
		out = t.pushOutLocked(&a.waiting, ReasonAddress)
	case t.open >= t.cfg.Most && t.waiting.Len() == 0:
		t.refused(ReasonTotal)
		return nil, c
	case t.open >= t.cfg.Most:
		out = t.pushOutLocked(&t.waiting, ReasonTotal)
	}
	a := t.strangers[from]
	if a == nil {
		a = &address{unpaid: rate.NewLimiter(strangerRate, strangerRate)}
		t.strangers[from] = a
	}
	in = &Conn{Conn: c, table: t, from: from, stranger: a, unpaid: a.unpaid}
	in.inAll, in.inOwn = t.waiting.PushBack(in), a.waiting.PushBack(in)
	t.open++
	return in, out
}

// forgetLocked forgets the addresses that have rested for long enough at now.
func (t *Table) forgetLocked(now time.Time) {
	for e := t.resting.Front(); e != nil; e = t.resting.Front() {
		d := e.Value.(departure)
		if now.Sub(d.at) <= restTime {
			return
		}
		t.resting.Remove(e)
		if a := t.strangers[d.from]; a != nil && a.waiting.Len() == 0 && a.left.Equal(d.at) {
			delete(t.strangers, d.from)
		}
	}
}

// pushOutLocked takes the first of strangers, which is not empty, out of the
// table. The caller closes it.
func (t *Table) pushOutLocked(strangers *list.List, why Reason) net.Conn {
	t.refused(why)
	c := strangers.Front().Value.(*Conn)
	c.leaveLocked()
	return c.Conn
}

// callerOf is the address that counts as one caller.
func callerOf(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	p, _ := addr.Prefix(prefix6) // the bits are right
	return p.Addr()
}

// Conn is one connection of a server.
type Conn struct {
	net.Conn

	table *Table
	from  netip.Addr

	// guarded by table.mu
	stranger *address      // nil once a key was shown
	inAll    *list.Element // of table.waiting, and of stranger's, while it is one
	inOwn    *list.Element
	owner    Owner         // whose count has the connection; nil: nobody's
	unpaid   *rate.Limiter // of the owner, else of the address
	closed   bool

	hungUp atomic.Bool // nothing more is read
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if c.hungUp.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.table.mu.Lock()
	c.leaveLocked()
	c.table.mu.Unlock()
	return c.Conn.Close()
}

// leaveLocked takes c out of its table, if it is there.
func (c *Conn) leaveLocked() {
	if c.closed {
		return
	}
	c.closed = true
	c.table.open--
	c.table.meetLocked(c)
	if c.owner != nil {
		c.owner.GiveConn()
	}
}

// meetLocked takes c off the strangers.
func (t *Table) meetLocked(c *Conn) {
	if c.stranger == nil {
		return
	}
	t.waiting.Remove(c.inAll)
	if c.stranger.waiting.Remove(c.inOwn); c.stranger.waiting.Len() == 0 {
		c.stranger.left = time.Now()
		t.resting.PushBack(departure{c.from, c.stranger.left})
	}
	c.stranger = nil
}

// Owner counts the connections of one caller who has shown a key.
type Owner interface {
	// TakeConn counts one, or reports false when there are too many.
	TakeConn() bool
	// GiveConn undoes one TakeConn.
	GiveConn()
	// Unpaid is how many answers it gets for nothing without waiting.
	Unpaid() *rate.Limiter
}

type connKey struct{}

// Context keeps c for Known, Pace and HangUp. It is for http.Server.ConnContext.
func Context(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// Known notes that a key was shown on the connection of r. The first owner of a
// connection is the one for whom it counts: behind a proxy others may use it
// too. Known reports whether the connection may stay, which it may not when
// owner has too many. A request that does not come through a Table may stay.
func Known(r *http.Request, owner Owner) (stay bool) {
	c, ok := r.Context().Value(connKey{}).(*Conn)
	if !ok {
		return true
	}
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	if c.owner != nil || c.closed {
		return true
	}
	c.table.meetLocked(c)
	if !owner.TakeConn() {
		return false
	}
	c.owner, c.unpaid = owner, owner.Unpaid()
	return true
}

// Pace blocks before an answer that no key pays for, when the address, or the
// owner of the connection, has had many: for up to most, or until the request
// ends. It reports whether it did. Otherwise requests that cost their sender
// nothing, one behind the other on a few connections, keep every CPU from the
// others.
func Pace(r *http.Request, most time.Duration) (waited bool) {
	c, ok := r.Context().Value(connKey{}).(*Conn)
	if !ok {
		return false
	}
	c.table.mu.Lock()
	unpaid := c.unpaid
	c.table.mu.Unlock()
	turn := unpaid.Reserve()
	wait := turn.Delay()
	if wait == 0 {
		return false
	}
	if wait > most {
		turn.Cancel()
		wait = most
	}
	select {
	case <-r.Context().Done():
	case <-time.After(wait):
	}
	return true
}

// HangUp has nothing more read from the connection of r, so that it ends with
// the reply, also when the rest of the body does not come.
func HangUp(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*Conn); ok {
		c.hungUp.Store(true)
	}
}
