package crowd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/gobwas/ws"
)

var homing = speech{
	protocol: "homing.v1",
	says:     ws.OpText,
	position: func(dst []byte, p position) []byte {
		return append(positionText(append(dst, `{"t":"say","data":`...), p), '}')
	},
	read: readHoming,
	own:  ownText,
}

var (
	homingFrame  = []byte(`{"t":"frame","tick":`)
	homingHello  = []byte(`{"t":"hello"`)
	homingJoined = []byte(`{"t":"joined"`)
	homingError  = []byte(`{"t":"error"`)
	ofJoin       = []byte(`"of":"join"`)
	homingMoved  = []byte(`{"t":"moved"`)
	homingGone   = [][]byte{[]byte(`{"t":"left"`), []byte(`{"t":"reconnect"`)}
)

func readHoming(op ws.OpCode, text []byte) message {
	if op != ws.OpText {
		return message{kind: violation}
	}
	switch {
	case bytes.HasPrefix(text, homingFrame):
		return frameOf(text[len(homingFrame):])
	case bytes.HasPrefix(text, homingHello):
		return message{kind: invitation}
	case bytes.HasPrefix(text, homingJoined):
		return message{kind: seated}
	case bytes.HasPrefix(text, homingMoved):
		return message{kind: elsewhere, told: text}
	case bytes.HasPrefix(text, homingError) && bytes.Contains(text, ofJoin):
		return farewell("refused", text)
	case bytes.HasPrefix(text, homingError):
		return message{kind: refusal}
	}
	for _, gone := range homingGone {
		if bytes.HasPrefix(text, gone) {
			return farewell("out of the room", text)
		}
	}
	return message{kind: violation}
}

// HomingSeat is the seat that a ticket is for, at a front's URL.
func HomingSeat(front, token, ticket string) (at, login string) {
	query := url.Values{"token": {token}, "room": {ticket}}
	return front + "?" + query.Encode(), fmt.Sprintf(`{"t":"join","ticket":%q,"ref":1}`, ticket)
}

// followed is s where a front says that its room is.
func (s Seat) followed(text []byte) (Seat, error) {
	var to struct{ URL, Ticket string }
	if err := json.Unmarshal(text, &to); err != nil {
		return s, fmt.Errorf("go where the room is: %w", err)
	}
	before, err := url.ParseRequestURI(s.Path)
	if err != nil {
		return s, fmt.Errorf("go where the room is: %w", err)
	}
	at, login := HomingSeat(to.URL, before.Query().Get("token"), to.Ticket)
	u, err := url.Parse(at)
	if err != nil {
		return s, fmt.Errorf("go where the room is: %w", err)
	}
	if s.Addr, err = netip.ParseAddrPort(u.Host); err != nil {
		return s, fmt.Errorf("go where the room is: %w", err)
	}
	s.Path, s.Login = u.RequestURI(), login
	return s, nil
}

// homingBinary has frames and what players say in bytes; see hub/room/frame.go.
// A position is four bytes: x and y, the low one of each first.
var homingBinary = speech{
	protocol: "homing.v1",
	says:     ws.OpBinary,
	position: func(dst []byte, p position) []byte {
		return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(dst, p.x), p.y)
	},
	read: func(op ws.OpCode, payload []byte) message {
		if op != ws.OpBinary {
			return readHoming(op, payload)
		}
		tick, n := binary.Uvarint(payload)
		if n <= 0 {
			return message{kind: violation}
		}
		return message{kind: frame, tick: int64(tick), told: payload[n:]}
	},
	own: ownState,
}

// ownState finds a player's own position among the states of a binary frame. told
// begins after the tick.
func ownState(told []byte, mark uint16) (position, bool) {
	r := reader{b: told}
	r.skip(1) // recovered
	for range r.uvarint() {
		r.uvarint()
		r.bytes()
		if r.bytes(); r.bad {
			return position{}, false
		}
	}
	for range r.uvarint() {
		r.bytes()
		r.skip(1) // there
		data := r.bytes()
		if r.bad {
			return position{}, false
		}
		if len(data) != positionSize {
			continue
		}
		p := position{binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:])}
		if p.mark() == mark {
			return p, true
		}
	}
	return position{}, false
}

const positionSize = 4 // bytes

// reader reads the parts of a binary message. What is not there reads as zero,
// and the reader is bad from then on.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte { return r.skip(r.uvarint()) }

func (r *reader) skip(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	skipped := r.b[:n]
	r.b = r.b[n:]
	return skipped
}
