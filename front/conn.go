package front

import (
	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/ws"
	"github.com/homing/homing/hub"
)

// state is where a connection is in its life. It only ever grows.
type state uint8

const (
	stateProxy    state = iota // the PROXY protocol header is arriving
	stateRequest               // the request is arriving, over TLS after its handshake
	stateVerify                // its token is being checked
	stateRegister              // switched to WebSocket; the index does not name the user yet
	stateOpen                  // the client may have read hello
	stateClosing               // a close frame or a refusal is on its way; input is discarded
	stateGone                  // closed and forgotten
)

// conn is one connection. The loop owns it. An idle one is this struct, its
// place in the table and, for the first of a user, one entry of the user map.
type conn struct {
	user    hub.UserID // set while registered
	service serviceName
	link    *link   // nil while c is alone, see group
	out     *outbox // nil while nothing waits to be written
	side    *side   // nil once open, except over TLS and around a resume
	dec     ws.Decoder
	joined  uint64 // place in the order in which connections were registered under their users

	id         int32 // place in the table
	fd         int32
	generation uint32
	deadline   uint32 // tick at which the present state ends; 0: it does not
	heard      uint32 // tick of the last bytes read
	pinged     uint32 // tick of the ping that nothing was heard since; 0: none
	opened     uint32 // tick at which the index was told of it
	used       usage  // by what the client has sent
	state      state
	protocol   uint8 // index into Worker.protocols
	polling    bool  // the poller reports writability
}

// side is what a connection needs for a while only, or only over TLS.
type side struct {
	head   []byte // the PROXY header or the request so far, then whatever followed it
	accept []byte // the reply that switches protocols
	tls    *secure
	secure bool    // TLS begins after the PROXY header
	noBody bool    // the request is a HEAD, whose answer has no body
	resume *resume // nil unless the client resumes or has just done so
}

func (c *conn) token() epoll.Token { return epoll.MakeToken(int(c.id), c.generation) }

func (c *conn) tls() *secure {
	if c.side == nil {
		return nil
	}
	return c.side.tls
}

// held reports whether messages must wait for hello to go first.
func (c *conn) held() bool { return c.state == stateRegister }

// settle forgets what only the handshake needed.
func (c *conn) settle() {
	if c.side != nil && c.side.tls == nil {
		c.side = nil
		return
	}
	c.side.head, c.side.accept = nil, nil
}

// never is the due tick of a place that nothing is due for.
const never = ^uint32(0)

// table gives every connection a place, which its events name. Places are
// reused; the generation tells their holders apart.
type table struct {
	conns      []*conn  // nil: free
	guests     []*guest // the connection's place in the account of its address; nil once in service, unless that is limited
	due        []uint32 // the tick at which the connection must be looked at
	free       []int32
	generation uint32
	count      int
}

func (t *table) add(c *conn, g *guest) {
	t.generation++
	c.generation = t.generation
	t.count++
	if n := len(t.free); n > 0 {
		c.id = t.free[n-1]
		t.free = t.free[:n-1]
		t.conns[c.id] = c
		t.guests[c.id] = g
		t.due[c.id] = never
		return
	}
	c.id = int32(len(t.conns))
	t.conns = append(t.conns, c)
	t.guests = append(t.guests, g)
	t.due = append(t.due, never)
}

func (t *table) remove(c *conn) {
	t.conns[c.id] = nil
	t.guests[c.id] = nil
	t.due[c.id] = never
	t.free = append(t.free, c.id)
	t.count--
}

// get returns the connection that an event is for, or nil when it is gone.
func (t *table) get(token epoll.Token) *conn {
	id := token.FD()
	if id >= len(t.conns) {
		return nil
	}
	if c := t.conns[id]; c != nil && c.generation == token.Generation() {
		return c
	}
	return nil
}
