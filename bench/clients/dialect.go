package clients

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Dialect names a protocol that clients speak to a front, over WebSocket unless
// it says otherwise.
type Dialect string

// The dialects there are. In all of them a notification carries the stamp that
// AppendData writes, as its "data".
const (
	Homing     Dialect = "homing" // homing.v1; also the zero Dialect
	Events     Dialect = "events" // Homing's server-sent events, over plain HTTP
	SocketIO   Dialect = "socketio"
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
	lines    bool                      // a text frame holds messages one a line
	stream   bool                      // no WebSocket: the response is a stream of texts, each ended by a blank line
	read     func(text []byte) message
}

// kind is what a message means to a client.
type kind uint8

const (
	violation    kind = iota // nothing that a front should send
	noise                    // right, and of no interest
	invitation               // log in
	hello                    // registered
	notification             // see stamp
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
	homingReconnect = []byte(`{"t":"reconnect"`)
	homingAfter     = []byte(`"after_ms":`)
)

func readHoming(text []byte) message {
	switch {
	case bytes.HasPrefix(text, homingNotify):
		return stamped(text)
	case bytes.HasPrefix(text, homingHello):
		return message{kind: hello}
	case bytes.HasPrefix(text, homingReconnect):
		_, after, _ := bytes.Cut(text, homingAfter)
		ms, _ := digits(after)
		return message{kind: goodbye, end: &waitError{wait: time.Duration(ms) * time.Millisecond, why: "told to reconnect"}}
	default:
		return message{kind: violation}
	}
}
