package crowd

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// colyseus is as much of Colyseus 0.18 as players need. A message's first byte is
// its type; what follows in a patch is of @colyseus/schema.
var colyseus = speech{
	says:     ws.OpBinary,
	greeting: []byte{colyseusJoin},
	position: func(dst []byte, p position) []byte {
		dst = append(dst, "\x0d\xa4move\x82\xa1x\xcd"...) // ROOM_DATA, the type, and {x, y} in MessagePack
		dst = binary.BigEndian.AppendUint16(dst, p.x)
		return binary.BigEndian.AppendUint16(append(dst, "\xa1y\xcd"...), p.y)
	},
	read: readColyseus,
	own:  ownPatch,
}

// The types of messages.
const (
	colyseusJoin  = 10 // to a player: its seat is there; from a player: so it is
	colyseusError = 11
	colyseusState = 14 // everything
	colyseusPatch = 15 // what has changed
)

func readColyseus(op ws.OpCode, payload []byte) message {
	if op != ws.OpBinary || len(payload) == 0 {
		return message{kind: violation}
	}
	switch body := payload[1:]; payload[0] {
	case colyseusPatch:
		tick, ok := patchTick(body)
		if !ok {
			return message{kind: noise} // somebody came or went between two ticks
		}
		return message{kind: frame, tick: tick, told: body}
	case colyseusJoin:
		return message{kind: invitation}
	case colyseusState:
		return message{kind: seated}
	case colyseusError:
		return farewell("refused", body)
	default:
		return message{kind: violation}
	}
}

// A patch is changes to structures. Each change is an operation with the number of
// a field and its value; those of another structure follow a switch to its
// number. Of the state that our server has, 0 is the state with the tick, 1 the
// map of players, and from 2 on there is one structure for each player.
const (
	schemaSwitch   = 255
	schemaFields   = 0x3f // of an operation's byte: the field
	schemaDelete   = 0x40 // of an entry of the map: it is gone, there is no value
	schemaState    = 0
	schemaMap      = 1
	schemaFixText  = 0xa0 // of a short text: its first byte, less its length
	schemaTextSize = 0x1f
	schemaByte     = 0xcc // of a number: one byte follows
	schemaShort    = 0xcd // two bytes
	schemaWord     = 0xce // four bytes
)

// patchTick finds the tick's number in a patch.
func patchTick(b []byte) (tick int64, ok bool) {
	walkPatch(b, func(structure, field uint32, value []byte) bool {
		if ok = structure == schemaState && field == 0; ok {
			tick = int64(binary.LittleEndian.Uint32(value))
		}
		return !ok
	})
	return tick, ok
}

// ownPatch finds a player's own position in a patch. A player that has moved has
// both of its coordinates there.
func ownPatch(told []byte, mark uint16) (own position, ok bool) {
	var at uint32
	var p position
	walkPatch(told, func(structure, field uint32, value []byte) bool {
		switch {
		case structure <= schemaMap:
		case field == 0:
			at, p.x = structure, binary.LittleEndian.Uint16(value)
		case structure == at:
			p.y = binary.LittleEndian.Uint16(value)
			own, ok = p, p.mark() == mark
		}
		return !ok
	})
	return own, ok
}

// walkPatch calls f for every field with a value that is no structure, until f
// reports false or the patch ends or has what our server does not send. value is
// as long as the field is: four bytes of the tick, two of a coordinate.
func walkPatch(b []byte, f func(structure, field uint32, value []byte) bool) {
	r := reader{b: b}
	structure := uint32(schemaState)
	for len(r.b) > 0 && !r.bad {
		op := r.skip(1)[0]
		switch field := uint32(op & schemaFields); {
		case op == schemaSwitch:
			structure = r.number()
		case structure == schemaMap:
			r.entry(op)
		case structure == schemaState && field == 1:
			r.number() // the map itself
		default:
			size := uint64(2)
			if structure == schemaState {
				size = 4
			}
			if value := r.skip(size); r.bad || !f(structure, field, value) {
				return
			}
		}
	}
}

// entry passes over a change to the map of players.
func (r *reader) entry(op byte) {
	r.number() // which
	if op == schemaDelete {
		return
	}
	if text := r.skip(1); !r.bad {
		r.bad = text[0]&^schemaTextSize != schemaFixText
		r.skip(uint64(text[0] & schemaTextSize))
	}
	r.number() // the player's structure
}

// number reads a number as schema writes it.
func (r *reader) number() uint32 {
	first := r.skip(1)
	if r.bad {
		return 0
	}
	switch first[0] {
	case schemaByte:
		return little(r.skip(1))
	case schemaShort:
		return little(r.skip(2))
	case schemaWord:
		return little(r.skip(4))
	default:
		r.bad = first[0] >= 0x80
		return uint32(first[0])
	}
}

// little is a number whose low byte comes first.
func little(b []byte) (v uint32) {
	for i, x := range b {
		v |= uint32(x) << (8 * i)
	}
	return v
}
