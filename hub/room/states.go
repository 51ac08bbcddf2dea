package room

import (
	"maps"
	"slices"
)

// state is the present value of one key.
type state struct {
	to      Audience
	data    []byte
	changed bool // in this tick
	gone    bool // removed in this tick; data is nil then
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
	live, bytes := s.live, s.bytes
	if x == nil || x.gone {
		live, bytes = live+1, bytes+len(key)+len(data)
	} else {
		bytes += len(data) - len(x.data)
	}
	if live > s.maxKeys || bytes > s.maxBytes {
		return false
	}
	s.live, s.bytes = live, bytes
	if x == nil {
		x = &state{}
		s.keys[key] = x
	}
	s.note(key, x)
	// Who could read it before and may not any more keeps the value that it had:
	// it is told nothing of the new one, not even that there is one.
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
	x.data, x.gone = nil, true
	s.note(key, x)
}

func (s *states) note(key string, x *state) {
	if !x.changed {
		x.changed = true
		s.changed = append(s.changed, key)
	}
}

// settle forgets what was removed, and begins the next tick.
func (s *states) settle() {
	for _, key := range s.changed {
		x := s.keys[key]
		if x.changed = false; x.gone {
			delete(s.keys, key)
		}
	}
	s.changed = s.changed[:0]
}

// forget takes who sits on seat out of every audience.
func (s *states) forget(seat int) {
	for _, x := range s.keys {
		x.to.forget(seat)
	}
}

// sorted lists the keys that are not gone, in order.
func (s *states) sorted() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.keys)), func(key string) bool { return s.keys[key].gone })
}
