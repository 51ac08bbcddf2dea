package driver

import (
	"slices"
	"sync"
)

// orders remembers to how many pods each of the last orders came, so that one that is
// given twice is carried out once. The zero value has none.
type orders struct {
	mu      sync.Mutex
	targets map[string]int
	ids     []string // oldest first
}

// target is what an order came to, if it is known.
func (o *orders) target(id string) (target int, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	target, known = o.targets[id]
	return target, known
}

// note keeps what an order comes to.
func (o *orders) note(id string, target int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.targets == nil {
		o.targets = make(map[string]int)
	}
	if _, known := o.targets[id]; !known {
		o.ids = append(o.ids, id)
	}
	o.targets[id] = target
	if len(o.ids) > rememberOrders {
		delete(o.targets, o.ids[0])
		o.ids = o.ids[1:]
	}
}

// forget has an order carried out when it is given again.
func (o *orders) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.targets, id)
	o.ids = slices.DeleteFunc(o.ids, func(other string) bool { return other == id })
}
