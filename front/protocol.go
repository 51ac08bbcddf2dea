package front

import (
	"slices"

	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
)

// protocol is what the clients of one path speak. One value serves all of its
// connections; the loop calls its methods. What a protocol is told of a session
// and tells it are the JSON messages of homing.v1 (docs/protocol.md): a protocol
// says how they look on its wire, and what else is on it.
type protocol interface {
	// upgrade answers a request for the protocol's path: it begins the admission
	// of c, or returns why not, as a *http1.Error.
	upgrade(c *conn, req *http1.Request) error
	// received takes bytes that the client sent after its request. They are only
	// lent, and may be overwritten.
	received(c *conn, data []byte)
	// due returns when check wants to see c, which is not closing, on the
	// protocol's account; 0: never. A silent connection is due for a sign of life.
	due(c *conn) loop.Tick
	check(c *conn)

	// greeted is told of each client that has been sent hello.
	greeted(c *conn)
	// silence is after how much of it the server gives a sign of life, as hello
	// tells it.
	silence() loop.Tick

	// appendMessage appends a message to b as it goes over the wire.
	appendMessage(b []byte, m outgoing) []byte
	// farewell is what ends c: code and reason are those of docs/protocol.md. It may be
	// empty.
	farewell(c *conn, code ws.CloseCode, reason string) []byte
}

// personal is a protocol that tells each client something else with what inboxes and
// topics keep; outgoing.to says whom. The method does nothing.
type personal interface{ personal() }

// kind is what a message to a client is.
type kind uint8

const (
	kindNotification kind = iota
	kindHello
	kindAnswer      // to something that the client sent
	kindResumed     // what follows is what the client has missed
	kindPlace       // where to resume from next time, after a replay; it has no body
	kindTopic       // what has become of a membership in a topic
	kindReconnect   // when to come back
	kindFrame       // of a game room
	kindBinaryFrame // of one; not JSON
	kindFriends     // who of a user's friends is online
	kindPresence    // one of them has come, or some have gone
)

// outgoing is a message to a client.
type outgoing struct {
	kind kind
	id   []byte // of a notification, or the place; else empty
	body []byte // JSON, but for kindBinaryFrame
	// retry is how many milliseconds the client is to wait when its connection has
	// ended; 0: as long as else. Of kindReconnect.
	retry int
	// to is who reads it and nobody else; nil: its bytes may be shared.
	to        *conn
	recovered bool  // the replay that begins is all that was missed; of kindResumed
	at        int64 // of a notification that is replayed: hub.Stored's
}

// protocolID is the place of a protocol in protocols.
type protocolID uint8

// maxProtocols is how many there may be: a delivery has a place for the bytes of
// each.
const maxProtocols = 10

// protocols are what a worker speaks.
type protocols [maxProtocols]protocol

// add takes one more protocol.
func (p *protocols) add(with protocol) protocolID {
	id := slices.Index(p[:], nil)
	p[id] = with
	return protocolID(id)
}

// of is what c speaks.
func (p *protocols) of(c *conn) protocol { return p[c.State.protocol] }
