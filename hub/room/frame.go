package room

import (
	"encoding/binary"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// A frame is what one member reads of one tick. In JSON:
//
//	{"t":"frame","tick":7,"events":[{"n":12,"from":"ann","data":1}],"state":{"score":2,"gone":null}}
//
// events and state are left out when they are empty. The first frame of a
// connection has "recovered", before events: true unless events are missing that
// the room has forgotten. In binary:
//
//	tick:uvarint recovered:byte events:uvarint (n:uvarint from:bytes data:bytes)* states:uvarint (key:bytes there:byte data:bytes)*
//	bytes: length:uvarint, then so many bytes
//	recovered: 0 no, 1 yes, 2 not the first frame
type frame struct {
	binary bool
	b      []byte
	inside bool // an element stands before the next one
}

// recovery says whether a frame is a connection's first.
type recovery byte

const (
	lostSome  recovery = 0
	recovered recovery = 1
	goesOn    recovery = 2
)

func beginFrame(binaryFrames bool, tick int64, rec recovery) *frame {
	f := &frame{binary: binaryFrames}
	if f.binary {
		f.b = binary.AppendUvarint(f.b, uint64(tick))
		f.b = append(f.b, byte(rec))
		return f
	}
	f.b = append(f.b, `{"t":"frame","tick":`...)
	f.b = strconv.AppendInt(f.b, tick, 10)
	if rec != goesOn {
		f.b = append(f.b, `,"recovered":`...)
		f.b = strconv.AppendBool(f.b, rec == recovered)
	}
	return f
}

// events appends those of all that may be read.
func (f *frame) events(all []event, visible func(*Audience) bool) {
	if f.binary {
		n := 0
		for i := range all {
			if visible(&all[i].to) {
				n++
			}
		}
		f.b = binary.AppendUvarint(f.b, uint64(n))
	}
	f.inside = false
	for i := range all {
		if e := &all[i]; visible(&e.to) {
			f.event(e)
		}
	}
	if !f.binary && f.inside {
		f.b = append(f.b, ']')
	}
}

func (f *frame) event(e *event) {
	if f.binary {
		f.b = binary.AppendUvarint(f.b, e.n)
		f.bytes([]byte(e.from))
		f.bytes(e.data)
		return
	}
	f.separate(`,"events":[`)
	f.b = append(f.b, `{"n":`...)
	f.b = strconv.AppendUint(f.b, e.n, 10)
	if e.from != "" {
		f.b = append(f.b, `,"from":`...)
		f.quote(string(e.from))
	}
	f.b = append(f.b, `,"data":`...)
	f.b = append(append(f.b, e.data...), '}')
}

// states appends those keys that may be read. count is how many these are.
func (f *frame) states(keys []string, count int, of func(key string) (data []byte, t told)) {
	if f.binary {
		f.b = binary.AppendUvarint(f.b, uint64(count))
	}
	f.inside = false
	for _, key := range keys {
		switch data, t := of(key); t {
		case toldValue:
			f.state(key, data, false)
		case toldGone:
			f.state(key, nil, true)
		case toldNothing:
		}
	}
	if !f.binary && f.inside {
		f.b = append(f.b, '}')
	}
}

func (f *frame) state(key string, data []byte, gone bool) {
	if f.binary {
		f.bytes([]byte(key))
		there := byte(1)
		if gone {
			there = 0
		}
		f.b = append(f.b, there)
		f.bytes(data)
		return
	}
	f.separate(`,"state":{`)
	f.quote(key)
	f.b = append(f.b, ':')
	if gone {
		f.b = append(f.b, "null"...)
		return
	}
	f.b = append(f.b, data...)
}

// separate puts what opens a list in front of its first element, and a comma in
// front of the others.
func (f *frame) separate(open string) {
	if f.inside {
		f.b = append(f.b, ',')
		return
	}
	f.inside = true
	f.b = append(f.b, open...)
}

func (f *frame) bytes(b []byte) {
	f.b = binary.AppendUvarint(f.b, uint64(len(b)))
	f.b = append(f.b, b...)
}

// quote appends s as a JSON string.
func (f *frame) quote(s string) {
	f.b, _ = jsontext.AppendQuote(f.b, s) // what is no UTF-8 is replaced
}

// end returns the whole frame.
func (f *frame) end() []byte {
	if f.binary {
		return f.b
	}
	return append(f.b, '}')
}
