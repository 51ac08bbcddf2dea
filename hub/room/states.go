package room

import (
	"bytes"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/homing/homing/hub"
)

// state is the present value of one key.
type state struct {
	to      Audience
	was     Audience // who could read it when the tick began; of a changed one
	data    []byte
	changed bool // in this tick
	gone    bool // removed in this tick; data is nil then
}

// told is what a member is told of a state.
type told byte

const (
	toldNothing told = iota
	toldValue
	toldGone // it is not there, or not for the member, any more
)

// tells says what user is told of a state that has changed.
func (x *state) tells(user hub.UserID) told {
	switch {
	case x.to.has(user) && !x.gone:
		return toldValue
	case x.was.has(user):
		return toldGone
	}
	return toldNothing
}

// states are all of a room.
type states struct {
	maxKeys, maxBytes int

	keys    map[string]*state
	changed []string // keys, in the order in which they changed
	live    int      // keys that are not gone
	bytes   int      // of keys and values
}

func newStates(c *Class) states {
	return states{maxKeys: c.StateKeys, maxBytes: c.StateBytes, keys: make(map[string]*state)}
}

// set gives key a value; see Table.Set.
func (s *states) set(to Audience, key string, data []byte) bool {
	x := s.keys[key]
	if x != nil && !x.gone && x.to.same(&to) && bytes.Equal(x.data, data) {
		return true
	}
	live, size := s.live, s.bytes
	if x == nil || x.gone {
		live, size = live+1, size+len(key)+len(data)
	} else {
		size += len(data) - len(x.data)
	}
	if live > s.maxKeys || size > s.maxBytes || !utf8.ValidString(key) {
		return false
	}
	s.live, s.bytes = live, size
	if x == nil {
		x = &state{} // nobody could read it
		s.keys[key] = x
	}
	s.note(key, x)
	x.to, x.data, x.gone = to, data, false
	return true
}

// remove takes key away.
func (s *states) remove(key string) {
	x := s.keys[key]
	if x == nil || x.gone {
		return
	}
	s.live--
	s.bytes -= len(key) + len(x.data)
	s.note(key, x)
	x.data, x.gone = nil, true
}

// note remembers that x changes now.
func (s *states) note(key string, x *state) {
	if !x.changed {
		x.changed, x.was = true, x.to
		s.changed = append(s.changed, key)
	}
}

// settle forgets what was removed, and begins the next tick.
func (s *states) settle() {
	for _, key := range s.changed {
		x := s.keys[key]
		x.changed, x.was = false, Audience{}
		if x.gone {
			delete(s.keys, key)
		}
	}
	s.changed = s.changed[:0]
}

// sorted lists the keys that are not gone, in order.
func (s *states) sorted() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.keys)), func(key string) bool { return s.keys[key].gone })
}

// widen has the states of a snapshot fit, whose class may have had wider bounds.
func (s *states) widen(all []stateSnapshot) {
	size := 0
	for i := range all {
		size += len(all[i].Key) + len(all[i].Data)
	}
	s.maxKeys, s.maxBytes = max(s.maxKeys, len(all)), max(s.maxBytes, size)
}
