// Package fair has those who wait served in turn, so that who sends many does
// not keep out who sends one.
package fair

import "container/list"

// Queue holds what waits, by whose it is. Owners are served one after the other,
// what one has in the order in which it came. Every call takes constant time.
// New makes one; it is not safe for concurrent use.
type Queue[K comparable, T any] struct {
	lines map[K]*line[K]
	turns list.List // of *line: whose turn it is first
	size  int
}

// line is what one owner has waiting: at least one item.
type line[K comparable] struct {
	owner K
	items list.List
	turn  *list.Element
}

// Place is where an item waits.
type Place[K comparable] struct {
	line *line[K]
	item *list.Element
}

// New returns an empty queue.
func New[K comparable, T any]() *Queue[K, T] {
	return &Queue[K, T]{lines: make(map[K]*line[K])}
}

// Len is how many items wait.
func (q *Queue[K, T]) Len() int { return q.size }

// Push has an item of owner wait behind what the owner has waiting already. An
// owner who had nothing is the last of those who are served in turn.
func (q *Queue[K, T]) Push(owner K, item T) *Place[K] {
	l := q.lines[owner]
	if l == nil {
		l = &line[K]{owner: owner}
		l.turn = q.turns.PushBack(l)
		q.lines[owner] = l
	}
	q.size++
	return &Place[K]{line: l, item: l.items.PushBack(item)}
}

// Pop takes out the first item of the owner whose turn it is, and makes that
// owner the last. It must not be called when Len is 0.
func (q *Queue[K, T]) Pop() T {
	l := q.turns.Front().Value.(*line[K])
	first := l.items.Front()
	q.turns.MoveToBack(l.turn)
	q.Remove(&Place[K]{line: l, item: first})
	return first.Value.(T)
}

// Remove takes out what waits at p, which is still there.
func (q *Queue[K, T]) Remove(p *Place[K]) {
	l := p.line
	l.items.Remove(p.item)
	q.size--
	if l.items.Len() == 0 {
		q.turns.Remove(l.turn)
		delete(q.lines, l.owner)
	}
}
