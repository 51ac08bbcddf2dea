package crowd

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/gobwas/ws"
)

// Dialect names a protocol that players speak, over WebSocket.
type Dialect string

// The dialects there are.
const (
	Homing       Dialect = "homing"        // homing.v1, a room of JSON
	HomingBinary Dialect = "homing-binary" // the same, a room of bytes
	SocketIO     Dialect = "socketio"      // what bench/peers/socketio/rooms.js speaks
	Colyseus     Dialect = "colyseus"      // what bench/peers/colyseus/rooms.js speaks
)

// speech is how a dialect is spoken: all that differs from one to the next.
type speech struct {
	protocol string    // WebSocket subprotocol; empty: none
	says     ws.OpCode // what a player's messages are
	greeting []byte    // said when invited; nil: the seat's login
	answer   []byte    // the text that answers a ping made of text
	position func(dst []byte, p position) []byte
	read     func(op ws.OpCode, payload []byte) message
	// own finds the position whose mark is that, in what a frame tells.
	own func(told []byte, mark uint16) (position, bool)
}

// kind is what a message means to a player.
type kind uint8

const (
	violation  kind = iota // nothing that a server should send
	noise                  // right, and of no interest
	invitation             // say hello
	seated                 // the player is in its room
	frame                  // see tick and told
	ping                   // answer it
	refusal                // of something that the player said
	elsewhere              // the room is in another process; see told
	goodbye                // see end
)

// message is one message from a server.
type message struct {
	kind kind
	tick int64  // of a frame
	told []byte // of a frame: what of it positions may stand in; of elsewhere: the message
	end  error  // of a goodbye: why the player is not wanted
}

// position is where a player is. x counts what the player has said, and x with y
// gives the player's mark in its room, so that it knows its own position in a
// frame, and when it said it.
type position struct{ x, y uint16 }

func positionOf(said int64, mark uint16) position {
	x := uint16(said)
	return position{x: x, y: x ^ mark}
}

func (p position) mark() uint16 { return p.x ^ p.y }

// markOf is the mark of the player on a seat of a room. It spreads y over its
// range as a position would be, and differs from the marks of the other seats.
func markOf(seat int) uint16 { return uint16(seat+1) * 40503 } // an odd factor, so that no two are the same

var errDialect = errors.New("unknown dialect")

func (d Dialect) speech() (speech, error) {
	switch d {
	case Homing:
		return homing, nil
	case HomingBinary:
		return homingBinary, nil
	case SocketIO:
		return socketIO, nil
	case Colyseus:
		return colyseus, nil
	default:
		return speech{}, fmt.Errorf("%w: %q", errDialect, d)
	}
}

var errFarewell = errors.New("sent away")

// farewell is a goodbye for the reason that a server gives.
func farewell(what string, text []byte) message {
	const longest = 200
	return message{kind: goodbye, end: fmt.Errorf("%w: %s: %s", errFarewell, what, text[:min(longest, len(text))])}
}

// frameOf reads the number of a tick off the front of b.
func frameOf(b []byte) message {
	tick, rest := digits(b)
	if len(rest) == len(b) {
		return message{kind: violation}
	}
	return message{kind: frame, tick: tick, told: rest}
}

// digits reads a decimal number off the front of b.
func digits(b []byte) (v int64, rest []byte) {
	for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
		v = v*10 + int64(b[0]-'0')
		b = b[1:]
	}
	return v, b
}

var (
	beforeX = []byte(`{"x":`)
	beforeY = []byte(`,"y":`)
)

// ownText finds a player's own position among those of a text.
func ownText(told []byte, mark uint16) (position, bool) {
	for {
		i := bytes.Index(told, beforeX)
		if i < 0 {
			return position{}, false
		}
		x, rest := digits(told[i+len(beforeX):])
		told = rest
		if !bytes.HasPrefix(rest, beforeY) {
			continue
		}
		y, rest := digits(rest[len(beforeY):])
		told = rest
		if p := (position{uint16(x), uint16(y)}); p.mark() == mark {
			return p, true
		}
	}
}

// positionText appends a position as JSON.
func positionText(dst []byte, p position) []byte {
	return fmt.Appendf(dst, `{"x":%d,"y":%d}`, p.x, p.y)
}
