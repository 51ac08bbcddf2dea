package arrival

// list is a doubly linked list whose links are in its elements, so that it
// allocates nothing. An element is on one such list at a time.
type list[E any, P linked[E]] struct{ first, last P }

// links are the elements before and after one.
type links[E any] struct{ prev, next *E }

// linked is a pointer to an element that knows its links.
type linked[E any] interface {
	*E
	at() *links[E]
}

// append puts e, which is on no list, behind all others.
func (l *list[E, P]) append(e P) {
	*e.at() = links[E]{prev: l.last}
	if l.last == nil {
		l.first = e
	} else {
		l.last.at().next = e
	}
	l.last = e
}

// remove takes e, which is on the list, out of it.
func (l *list[E, P]) remove(e P) {
	was := *e.at()
	*e.at() = links[E]{}
	if was.prev == nil {
		l.first = was.next
	} else {
		P(was.prev).at().next = was.next
	}
	if was.next == nil {
		l.last = was.prev
	} else {
		P(was.next).at().prev = was.prev
	}
}
