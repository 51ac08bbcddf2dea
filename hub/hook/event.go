package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// Event is something that backends are told.
type Event struct {
	Type    string    // such as "room.ended"
	Subject string    // what it is about, as a room's id; events of one subject are delivered in order
	Data    any       // the body's data, as encoding/json marshals it
	Time    time.Time // when it happened; zero: now
	// ID is the webhook-id. It is the same each time that the event is delivered,
	// and receivers tell repeats by it: give one where the same thing may be
	// published twice. Empty: one is drawn.
	ID string
}

// Bounds of an event, in bytes.
const (
	MaxType    = 64
	MaxSubject = 256
	MaxID      = 128
	MaxBody    = 256 << 10 // with type and time
)

// Why an event is not published.
var (
	errInvalid  = errors.New("invalid event")
	errTooLarge = errors.New("event too large")
)

// item is an event that waits to be written to Redis.
type item struct {
	target    *target
	partition int
	number    uint64 // within the target's partition, by this publisher
	id        string
	subject   string
	kind      string
	at        time.Time // published
	body      []byte
}

// itemOverhead is what an item takes beside its texts.
const itemOverhead = 160

func (it *item) size() int {
	return itemOverhead + len(it.id) + len(it.subject) + len(it.kind) + len(it.body)
}

// encode checks e and renders its body.
func encode(e *Event, now time.Time) (*item, error) {
	it := &item{id: e.ID, subject: e.Subject, kind: e.Type, at: now, partition: partitionOf(e.Subject)}
	if it.id == "" {
		it.id = "evt_" + ulid.Make().String()
	}
	if err := it.check(); err != nil {
		return nil, err
	}
	when := e.Time
	if when.IsZero() {
		when = now
	}
	body, err := json.Marshal(payload{Type: e.Type, Timestamp: when.UTC().Format(rfc3339Micro), Data: e.Data})
	if err != nil {
		return nil, fmt.Errorf("%w: data: %w", errInvalid, err)
	}
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w: %d bytes, want at most %d", errTooLarge, len(body), MaxBody)
	}
	it.body = body
	return it, nil
}

// rfc3339Micro is RFC 3339 with microseconds: what happens to one user in two processes
// may be less than a millisecond apart.
const rfc3339Micro = "2006-01-02T15:04:05.000000Z07:00"

// payload is the body of a request to a backend.
type payload struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      any    `json:"data"`
}

func (it *item) check() error {
	switch {
	case !within(it.kind, MaxType, "._-"):
		return fmt.Errorf("%w: type %q: want 1 to %d letters, digits, dots", errInvalid, clip(it.kind), MaxType)
	case it.subject == "" || len(it.subject) > MaxSubject:
		return fmt.Errorf("%w: subject of %d bytes, want 1 to %d", errInvalid, len(it.subject), MaxSubject)
	case !within(it.id, MaxID, "_-:"): // a dot ends the id in what is signed
		return fmt.Errorf("%w: id %q: want 1 to %d letters, digits, colons", errInvalid, clip(it.id), MaxID)
	}
	return nil
}

// within reports whether s is 1 to most ASCII letters, digits and bytes of others.
func within(s string, most int, others string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(others, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// clip shortens what is quoted in an error.
func clip(s string) string {
	if len(s) > MaxType {
		return s[:MaxType] + "…"
	}
	return s
}

// patterns say which types of events are wanted: a type, or the beginning of one
// and a star.
type patterns []string

func (p patterns) match(kind string) bool {
	for _, want := range p {
		if start, open := strings.CutSuffix(want, "*"); kind == want || open && strings.HasPrefix(kind, start) {
			return true
		}
	}
	return false
}

func (p patterns) check() error {
	if len(p) == 0 {
		return errors.New("none given: want types or patterns such as room.*")
	}
	for _, want := range p {
		if start := strings.TrimSuffix(want, "*"); start != "" && !within(start, MaxType, "._-") || want == "" {
			return fmt.Errorf("%q: want a type, or the beginning of one and a star", clip(want))
		}
	}
	return nil
}
