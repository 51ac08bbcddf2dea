package clients

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Dialect names a protocol that clients speak to a front, and what carries it: a
// WebSocket unless it says otherwise.
type Dialect string

// The dialects there are. In all of them a notification carries the stamp that
// AppendData writes, as its "data".
const (
	Homing     Dialect = "homing" // homing.v1; also the zero Dialect
	Events     Dialect = "events" // Homing's server-sent events, over plain HTTP
	SocketIO   Dialect = "socketio"
	Upgraded   Dialect = "upgraded" // Socket.IO that begins by polling and goes over to a WebSocket
	Polling    Dialect = "polling"  // Socket.IO over HTTP long-polling
	Foreign    Dialect = "foreign"  // the same, polling at another front than the one that has the session
	Centrifuge Dialect = "centrifuge"
)

// speech is how a dialect is spoken: all that differs from one to the next.
type speech struct {
	path     string                    // where servers speak it by custom
	protocol string                    // WebSocket subprotocol; empty: none
	query    func(token string) string // of the handshake's request
	login    func(token string) []byte // the text that says who we are; nil: the request does
	invited  bool                      // login waits for an invitation
	pong     []byte                    // the text that answers a ping made of text
	split    []byte                    // stands between messages that come as one text; nil: each comes alone
	carrier  carrier
	read     func(text []byte) message
}

// carrier is what brings a dialect's texts.
type carrier uint8

const (
	webSocket carrier = iota
	stream            // of the response to the one request: texts, each ended by a blank line
	polls             // requests of Engine.IO, one after the other: see poll
	farPolls          // polls that go elsewhere than the first one, which began the session
	upgrade           // a WebSocket for a session that a request began
)

// polled reports whether sessions begin with a request of Engine.IO.
func (c carrier) polled() bool { return c == polls || c == farPolls || c == upgrade }

// kind is what a message means to a client.
type kind uint8

const (
	violation    kind = iota // nothing that a front should send
	noise                    // right, and of no interest
	invitation               // log in
	probed                   // go over to this WebSocket
	hello                    // registered
	notification             // see stamp
	joined                   // a topic
	ping                     // answer it
	goodbye                  // see end
)

// message is one message from a front.
type message struct {
	kind  kind
	stamp stamp // of a notification
	end   error // of a goodbye: why the client is not wanted
}

// waitError is the end of a client that is told to come back later.
type waitError struct {
	wait time.Duration
	why  string
	to   netip.AddrPort // where it is to come; the zero one: to its own front
}

func (e *waitError) Error() string { return fmt.Sprintf("%s; come back in %v", e.why, e.wait) }

var errDialect = errors.New("unknown dialect")

func (d Dialect) speech() (speech, error) {
	switch d {
	case Homing, "":
		return homing, nil
	case Events:
		return events, nil
	case SocketIO:
		return socketIO, nil
	case Upgraded:
		return socketIOBy(upgrade), nil
	case Polling:
		return socketIOBy(polls), nil
	case Foreign:
		return socketIOBy(farPolls), nil
	case Centrifuge:
		return centrifuge, nil
	default:
		return speech{}, fmt.Errorf("%w: %q", errDialect, d)
	}
}

// stamped is the notification in text, a violation when it has no stamp.
func stamped(text []byte) message {
	s, ok := parseStamp(text)
	if !ok {
		return message{kind: violation}
	}
	return message{kind: notification, stamp: s}
}

// farewell is a goodbye for the reason that text gives.
func farewell(what string, text []byte) message {
	const longest = 200
	return message{kind: goodbye, end: fmt.Errorf("%w: %s: %s", errFarewell, what, text[:min(longest, len(text))])}
}

var errFarewell = errors.New("sent away")

var homing = speech{
	path:     "/ws",
	protocol: "homing.v1",
	query:    func(token string) string { return "?token=" + token },
	read:     readHoming,
}

var (
	homingHello     = []byte(`{"t":"hello"`)
	homingNotify    = []byte(`{"t":"notify"`)
	homingJoined    = []byte(`{"t":"subscribed"`)
	homingReconnect = []byte(`{"t":"reconnect"`)
	homingPresence  = []byte(`{"t":"presence"`)
	homingAfter     = []byte(`"after_ms":`)
	homingTo        = []byte(`"to":"`)
)

func readHoming(text []byte) message {
	switch {
	case bytes.HasPrefix(text, homingNotify):
		return stamped(text)
	case bytes.HasPrefix(text, homingJoined):
		return message{kind: joined}
	case bytes.HasPrefix(text, homingHello):
		return message{kind: hello}
	case bytes.HasPrefix(text, homingReconnect):
		return comeBack(text)
	case bytes.HasPrefix(text, homingPresence):
		return message{kind: noise}
	default:
		return message{kind: violation}
	}
}

// comeBack is the goodbye of a front that asks to reconnect, after a while, at another
// one perhaps, which goes by an address here.
func comeBack(text []byte) message {
	_, after, _ := bytes.Cut(text, homingAfter)
	ms, _ := digits(after)
	told := &waitError{wait: time.Duration(ms) * time.Millisecond, why: "told to reconnect"}
	if _, host, ok := bytes.Cut(text, homingTo); ok {
		host, _, _ = bytes.Cut(host, []byte{'"'})
		told.to, _ = netip.ParseAddrPort(string(host)) // a name is none: the client comes to its own front
	}
	return message{kind: goodbye, end: told}
}
