package loop

import (
	"net/netip"

	"github.com/homing/homing/front/arrival"
	"github.com/homing/homing/front/epoll"
)

// state is where a connection is in its life. It only ever grows.
type state uint8

const (
	stateProxy  state = iota // the PROXY protocol header is arriving
	stateOpen                // bytes go up and down, over TLS after its handshake
	stateEnding              // the last bytes are on their way; what comes is not looked at
	stateGone                // closed and forgotten
)

// Conn is one connection. The loop's goroutine owns it. State is the handler's.
// An idle connection is this struct and its place in the table.
type Conn[S any] struct {
	out        *queue  // nil while nothing waits to be written
	aux        *aux[S] // nil as a rule once taken in
	fd         int32   // also its place in the table
	generation uint32
	heard      Tick
	state      state
	polling    bool // the poller reports writability
	held       held // why messages wait in the write queue, beside the kernel's having no room
	unread     bool // the poller does not report readability

	State S
}

// aux is what a connection needs for a while only, or only over TLS.
type aux[S any] struct {
	deadline Tick // 0: none
	guest    *arrival.Guest[*Conn[S]]
	tls      *secure[S]
	header   []byte // the PROXY header so far
	overTLS  bool   // TLS begins after the PROXY header
}

// held says why messages for a connection wait.
type held uint8

const (
	corked   held = 1 << iota // until Uncork
	detached                  // until they are taken: there is no socket
	delayed                   // for a moment, see SendSoon
)

func (c *Conn[S]) is(why held) bool { return c.held&why != 0 }

// Addr is where c comes from, as far as that is known: while c is not taken in,
// and as long as its address is counted. Else it is the zero Addr.
func (c *Conn[S]) Addr() netip.Addr {
	if c.aux == nil || c.aux.guest == nil {
		return netip.Addr{}
	}
	return c.aux.guest.Addr
}

// Place is where c stands in the table; see At.
func (c *Conn[S]) Place() int { return int(c.fd) }

// Serial tells c from all other connections of its loop.
func (c *Conn[S]) Serial() uint32 { return c.generation }

// Heard is the tick at which bytes came last, or c itself.
func (c *Conn[S]) Heard() Tick { return c.heard }

// Handshaking reports whether c's PROXY header or TLS handshake is not over.
func (c *Conn[S]) Handshaking() bool {
	if c.state == stateProxy {
		return true
	}
	t := c.tls()
	return t != nil && !t.Open()
}

// Ending reports whether c was given to End and is not gone yet.
func (c *Conn[S]) Ending() bool { return c.state == stateEnding }

// Gone reports whether c has ended.
func (c *Conn[S]) Gone() bool { return c.state == stateGone }

// Waiting reports whether something waits to be written to c.
func (c *Conn[S]) Waiting() bool { return c.out != nil }

// Progress is the tick at which the kernel last took some of what waits for c,
// or at which that began to wait; 0 when nothing waits.
func (c *Conn[S]) Progress() Tick {
	if c.out == nil {
		return 0
	}
	return c.out.progress
}

func (c *Conn[S]) token() epoll.Token { return epoll.MakeToken(int(c.fd), c.generation) }

func (c *Conn[S]) tls() *secure[S] {
	if c.aux == nil {
		return nil
	}
	return c.aux.tls
}

func (c *Conn[S]) deadline() Tick {
	if c.aux == nil {
		return 0
	}
	return c.aux.deadline
}

func (c *Conn[S]) setDeadline(at Tick) {
	if c.aux == nil {
		if at == 0 {
			return
		}
		c.aux = &aux[S]{}
	}
	c.aux.deadline = at
	c.spare()
}

// guest is c's place in the account of its address; nil when it has none.
func (c *Conn[S]) guest() *arrival.Guest[*Conn[S]] {
	if c.aux == nil {
		return nil
	}
	return c.aux.guest
}

// spare lets go of an aux that holds nothing.
func (c *Conn[S]) spare() {
	if a := c.aux; a.deadline == 0 && a.guest == nil && a.tls == nil && a.header == nil {
		c.aux = nil
	}
}

// never is the due tick of a place that nothing is due for.
const never = ^Tick(0)

// table holds the connections, each at the place of its descriptor. The
// generation tells those apart that had the same one after another.
type table[S any] struct {
	conns      []*Conn[S] // nil: free
	due        []Tick     // when the connection must be looked at
	generation uint32
	count      int
}

func (t *table[S]) add(c *Conn[S]) {
	for len(t.conns) <= int(c.fd) {
		t.conns = append(t.conns, nil)
		t.due = append(t.due, never)
	}
	t.generation++
	c.generation = t.generation
	t.conns[c.fd] = c
	t.count++
}

func (t *table[S]) remove(c *Conn[S]) {
	t.conns[c.fd] = nil
	t.due[c.fd] = never
	t.count--
}

// get returns the connection that an event is for, or nil when it is gone.
func (t *table[S]) get(token epoll.Token) *Conn[S] {
	fd := token.FD()
	if fd >= len(t.conns) {
		return nil
	}
	if c := t.conns[fd]; c != nil && c.generation == token.Generation() {
		return c
	}
	return nil
}
