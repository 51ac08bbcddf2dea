package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// maxParcel bounds the bodies of the events that one request takes, in bytes.
//
//bound:hook-batch
const maxParcel = 1 << 20

// parcel is what one request takes: the first events of one subject or of several.
// Its subjects wait with it: no later event of theirs is sent before it is done.
type parcel struct {
	parts     []part
	attempts  int // that failed
	next      time.Time
	notBefore time.Time // the backend asked for that much
}

// part is what a parcel has of one subject: its first n events.
type part struct {
	subject *subject
	n       int
}

// entries lists the entries of all events.
func (p *parcel) entries() (all []string) {
	for _, part := range p.parts {
		for _, r := range part.subject.entries[:part.n] {
			all = append(all, r.entry)
		}
	}
	return all
}

// take adds the first events of s, as many as there is room for in events and
// bytes, and returns what room is left. It reports false when there is none.
func (p *parcel) take(s *subject, events, bytes int) (eventsLeft, bytesLeft int, ok bool) {
	n := 0
	for n < len(s.entries) && events > 0 {
		size := s.entries[n].bytes
		if size > bytes && (n > 0 || len(p.parts) > 0) {
			break
		}
		n, events, bytes = n+1, events-1, bytes-size
	}
	if n > 0 {
		p.parts = append(p.parts, part{s, n})
	}
	return events, bytes, n > 0
}

// split divides a parcel that failed in two halves, so that an event that is never
// taken holds up fewer and fewer others. A single event stays as it is.
func (p *parcel) split() (parcels []*parcel, divided bool) {
	half := *p
	switch first := p.parts[0]; {
	case len(p.parts) > 1:
		middle := len(p.parts) / 2
		half.parts, p.parts = p.parts[middle:], p.parts[:middle]
		return []*parcel{p, &half}, true
	case first.n > 1: // the rest of the subject waits behind
		p.parts[0].n = first.n / 2
		return []*parcel{p}, true
	}
	return []*parcel{p}, false
}

// batchBody is what is sent of several events: an object with the list of them,
// each with its id.
func batchBody(events []*stored) []byte {
	size := len(batchHead) + len(batchTail)
	for _, e := range events {
		size += len(`{"id":"",,`) + len(e.id) + len(e.body)
	}
	b := append(make([]byte, 0, size), batchHead...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":"`...)
		b = append(b, e.id...) // of letters that JSON has as they are
		b = append(b, `",`...)
		b = append(b, e.body[1:]...)
	}
	return append(b, batchTail...)
}

const (
	batchHead = `{"events":[`
	batchTail = `]}`
)

// batchID names a batch by its events: the same ones have the same name.
func batchID(events []*stored) string {
	h := sha256.New()
	for _, e := range events {
		_, _ = h.Write([]byte(e.id + "\n")) // never fails
	}
	return "bat_" + hex.EncodeToString(h.Sum(nil)[:16])
}
