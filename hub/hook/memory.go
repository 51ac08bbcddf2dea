package hook

import "sync"

// memory remembers the last of some texts. It is safe for concurrent use.
type memory struct {
	mu   sync.Mutex
	ring []string
	next int
	have map[string]struct{}
}

func newMemory(most int) *memory {
	return &memory{ring: make([]string, most), have: make(map[string]struct{})}
}

// add remembers s, and forgets what it remembered first when it is full.
func (m *memory) add(s string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.have[s]; ok {
		return
	}
	delete(m.have, m.ring[m.next])
	m.ring[m.next] = s
	m.next = (m.next + 1) % len(m.ring)
	m.have[s] = struct{}{}
}

func (m *memory) has(s string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.have[s]
	return ok
}
