package client

// seen remembers the last seenLimit notification ids.
type seen struct {
	ids  map[string]struct{}
	ring []string
	next int
}

const seenLimit = 1024

// has reports whether id is remembered. The empty id never is.
func (s *seen) has(id string) bool {
	_, ok := s.ids[id]
	return ok
}

// add remembers id in place of the oldest.
func (s *seen) add(id string) {
	if id == "" || s.has(id) {
		return
	}
	if s.ids == nil {
		s.ids = make(map[string]struct{}, 16)
	}
	if len(s.ring) < seenLimit {
		s.ring = append(s.ring, id)
	} else {
		delete(s.ids, s.ring[s.next])
		s.ring[s.next] = id
		s.next = (s.next + 1) % seenLimit
	}
	s.ids[id] = struct{}{}
}
