package presence

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/homing/homing/hub"
)

// version begins every message of this package. Neither an envelope (hub.Envelope)
// nor a message of hub/call begins so: one channel carries all.
const version = 0x84

const (
	kindNews byte = iota + 1
	kindGone
	kindChanged
	kindReread
)

const (
	// maxWords bounds the words in a message.
	maxWords = 1024
	// maxTo bounds the users to tell a word: old friends and new ones.
	maxTo = 2 * hub.MaxFriends
)

// Message is what a front process is told of users who came or went. One of its fields
// is set. Wire form; numbers are unsigned varints, strings stand after their length:
//
//	version kind         one byte each
//	count {at online user count service… count watcher…}…   of news; at in microseconds
//	count {at user}…     of gone
//	count user…          of changed
type Message struct {
	News []Word

	// Gone are users whose process died. Whoever has one of them among its friends
	// is to be told.
	Gone []Gone

	// Changed are users whose list of friends was stored anew.
	Changed []hub.UserID

	// Reread says that words to this process were lost: all its users are to be told
	// anew who of their friends is online.
	Reread bool
}

// Word is news, and which users of the process are to be told.
type Word struct {
	News

	To []hub.UserID
}

// Gone is a user who has gone, and when.
type Gone struct {
	User hub.UserID
	At   time.Time
}

// Names is how many users m names, and at least 1.
func (m *Message) Names() int {
	n := 1 + len(m.Gone) + len(m.Changed)
	for i := range m.News {
		n += 1 + len(m.News[i].To)
	}
	return n
}

// ErrBadMessage marks bytes that are no message of this package.
var ErrBadMessage = errors.New("not a message of hub/presence")

// Bytes returns m as it travels.
func (m *Message) Bytes() []byte {
	switch {
	case m.Reread:
		return []byte{version, kindReread}
	case m.Changed != nil:
		return appendStrings([]byte{version, kindChanged}, m.Changed)
	case m.Gone != nil:
		b := binary.AppendUvarint([]byte{version, kindGone}, uint64(len(m.Gone)))
		for _, g := range m.Gone {
			b = appendString(appendTime(b, g.At), g.User)
		}
		return b
	}
	b := make([]byte, 0, 16*m.Names())
	b = binary.AppendUvarint(append(b, version, kindNews), uint64(len(m.News)))
	for i := range m.News {
		b = m.News[i].append(b)
	}
	return b
}

func (w *Word) append(b []byte) []byte {
	online := byte(0)
	if w.Online {
		online = 1
	}
	b = appendString(append(appendTime(b, w.At), online), w.User)
	return appendStrings(appendStrings(b, w.Services), w.To)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(b, uint64(max(0, t.UnixMicro())))
}

func appendString[S ~string](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings[S ~string](b []byte, list []S) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// Is reports whether b is a message of this package.
func Is(b []byte) bool { return len(b) > 0 && b[0] == version }

// Parse reads the wire form. It checks every length before it trusts it, and wraps
// ErrBadMessage in every error. The message shares no memory with b, but its strings
// are parts of one.
func Parse(b []byte) (m Message, err error) {
	if len(b) < 2 || !Is(b) {
		return m, ErrBadMessage
	}
	r := reader{rest: string(b[2:])}
	switch b[1] {
	case kindNews:
		for range r.number(maxWords) {
			m.News = append(m.News, r.word())
		}
	case kindGone:
		for range r.number(hub.MaxUsers) {
			m.Gone = append(m.Gone, Gone{At: r.time(), User: r.user()})
		}
	case kindChanged:
		m.Changed = r.users(hub.MaxUsers)
	case kindReread:
		m.Reread = true
	default:
		return Message{}, ErrBadMessage
	}
	if r.bad || r.rest != "" {
		return Message{}, ErrBadMessage
	}
	return m, nil
}

// reader takes numbers and texts off the front of rest. After the first that does
// not fit it is bad and yields nothing.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) word() (w Word) {
	w.At, w.Online, w.User = r.time(), r.number(1) == 1, r.user()
	for range r.number(hub.MaxServices) {
		w.Services = append(w.Services, hub.Service(r.text(hub.MaxService)))
	}
	w.To = r.users(maxTo)
	return w
}

// users reads at most limit users.
func (r *reader) users(limit uint64) (all []hub.UserID) {
	n := r.number(limit)
	if n > uint64(len(r.rest)) { // each takes a byte at least
		r.bad = true
		return nil
	}
	if n > 0 {
		all = make([]hub.UserID, 0, n)
	}
	for range n {
		all = append(all, r.user())
	}
	return all
}

func (r *reader) number(limit uint64) (n uint64) {
	if r.bad {
		return 0
	}
	for i := 0; i < min(len(r.rest), binary.MaxVarintLen64); i++ {
		c := r.rest[i]
		if i == binary.MaxVarintLen64-1 && c > 1 {
			break
		}
		if n |= uint64(c&0x7f) << (7 * i); c < 0x80 {
			if n > limit || c == 0 && i > 0 {
				break
			}
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.bad = true
	return 0
}

func (r *reader) time() time.Time { return time.UnixMicro(int64(r.number(math.MaxInt64))) }

func (r *reader) user() hub.UserID { return hub.UserID(r.text(hub.MaxUserID)) }

func (r *reader) text(limit uint64) string {
	n := r.number(limit)
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}
