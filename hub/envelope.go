package hub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Kind says what an envelope asks of the worker that receives it.
type Kind uint8

const (
	// KindNotify asks to write Payload to the users' connections.
	KindNotify Kind = iota + 1
	// KindBroadcast asks to write Payload to every connection held.
	KindBroadcast
	// KindDisconnect asks to close the users' connections; Payload is the
	// reason told to them, as text.
	KindDisconnect
	// KindMissed goes back to the sender of a KindNotify: the receiver holds
	// none of these users, who may be elsewhere by now.
	KindMissed
)

// Envelope is what one process is asked to do for some of its users: the
// notification's header, the users, and the bytes that each of them reads.
// It travels as the body of a relay message.
//
// Wire form, version 1; numbers are unsigned varints (encoding/binary):
//
//	version kind class          one byte each; with the class, Mix in its two highest bits
//	len id  len key             strings, each after its length
//	age                         in milliseconds
//	count {len service}…        services that the delivery is limited to
//	count shared {len user}…    none for a broadcast
//	len payload
type Envelope struct {
	Kind     Kind
	Class    Class
	ID       string
	Key      string
	Services []Service
	Users    []UserID // also Addresses of topics, whose members are meant
	Payload  []byte

	// Mix says what the notification is for beside one topic, which other envelopes
	// may tell: a connection may be meant more than once.
	Mix Mix
	// Shared is how many of Users, the last ones, have connections at other
	// processes too, which envelopes of their own tell.
	Shared int
	// Age is 0, or, for an envelope handed on because its first receiver did
	// not have the users, how long ago the notification was accepted. Its
	// receiver leaves out the connections that it told already; a broadcast
	// that it never had is for the connections that are younger.
	Age time.Duration
}

// Status is what became of a notification for one user at one worker: the
// best of what became of it at the user's connections. Larger is better.
type Status byte

// The statuses, as they stand on the wire.
const (
	StatusMissed  Status = iota // the worker holds no connection of the user that is meant
	StatusDropped               // given up because the connections are too slow
	StatusQueued                // waits in an outbox of the worker
	StatusWritten               // handed to the kernel
)

// Outcome is what became of an envelope at the worker that received it.
type Outcome struct {
	Missed   []UserID // users that it does not hold; of a notification only
	Shared   int      // how many of Missed, the last ones, were among the envelope's shared users
	Statuses []byte   // a Status for each user in order, when it was asked for
	Reached  []int    // with Statuses: the connections that each topic among the users reached
	Heard    int      // of a broadcast: the connections that it was for
}

// Reply is what the sender of a notification or a broadcast is answered that
// asked for it.
func (o *Outcome) Reply(kind Kind) []byte {
	if kind == KindBroadcast {
		return binary.AppendUvarint(nil, uint64(max(0, o.Heard)))
	}
	b := o.Statuses
	for _, n := range o.Reached {
		b = binary.AppendUvarint(b, uint64(max(0, n)))
	}
	return b
}

// ParseReceipt reads the Reply to a notification for users, Addresses of topics
// among them. ok is false when it is none.
func ParseReceipt(reply []byte, users []UserID) (statuses []byte, reached []int, ok bool) {
	if len(reply) < len(users) {
		return nil, nil, false
	}
	r := reader{rest: reply[len(users):]}
	for _, u := range users {
		if IsTopic(u) {
			reached = append(reached, r.count(math.MaxInt32))
		}
	}
	return reply[:len(users)], reached, !r.bad && len(r.rest) == 0
}

// ParseHeard reads the Reply to a broadcast. ok is false when it is none.
func ParseHeard(reply []byte) (connections int, ok bool) {
	r := reader{rest: reply}
	connections = r.count(math.MaxInt32)
	return connections, !r.bad && len(r.rest) == 0
}

const (
	envelopeVersion = 1
	mixShift        = 6 // of Mix, in the byte of the class
)

// Mix is what a notification for a topic is for besides; the sum of some of these.
type Mix uint8

// What it may be.
const (
	MixTopics Mix = 1 << iota // other topics
	MixUsers                  // users
)

// ErrBadEnvelope marks bytes that are not an envelope of a known version.
var ErrBadEnvelope = errors.New("bad envelope")

// Append appends e's wire form to dst and returns the extended slice.
func (e *Envelope) Append(dst []byte) []byte {
	dst = append(dst, envelopeVersion, byte(e.Kind), byte(e.Class)|byte(e.Mix)<<mixShift)
	dst = appendString(dst, e.ID)
	dst = appendString(dst, e.Key)
	dst = binary.AppendUvarint(dst, uint64(max(0, e.Age.Milliseconds())))
	dst = binary.AppendUvarint(dst, uint64(len(e.Services)))
	for _, s := range e.Services {
		dst = appendString(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Users)))
	dst = binary.AppendUvarint(dst, uint64(e.Shared)) //nolint:gosec // 0 to len(e.Users)
	for _, u := range e.Users {
		dst = appendString(dst, u)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Payload)))
	return append(dst, e.Payload...)
}

func appendString[S ~string](dst []byte, s S) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// Delivery is an envelope as the receiver reads it: every field is a view of
// the bytes given to ParseEnvelope, so that reading one costs the same few
// allocations for one user as for ten thousand. It must not outlive them.
type Delivery struct {
	Kind     Kind
	Class    Class
	ID       []byte
	Key      []byte
	Services [][]byte
	Payload  []byte
	Mix      Mix
	Shared   int           // of the users, the last ones
	Age      time.Duration // see Envelope

	userCount int
	users     []byte
}

// MaxAge bounds Envelope.Age: far beyond any time a message is kept.
const MaxAge = 24 * time.Hour

// ParseEnvelope reads the wire form of one envelope. It checks every length
// before it trusts it, refuses what Append would not have written, and wraps
// ErrBadEnvelope in every error.
func ParseEnvelope(b []byte) (Delivery, error) {
	if len(b) < 3 || b[0] != envelopeVersion {
		return Delivery{}, fmt.Errorf("%w: %d bytes, want version %d", ErrBadEnvelope, len(b), envelopeVersion)
	}
	d := Delivery{Kind: Kind(b[1]), Class: Class(b[2] & (1<<mixShift - 1)), Mix: Mix(b[2] >> mixShift)}
	if d.Kind < KindNotify || d.Kind > KindMissed || d.Class >= Classes {
		return Delivery{}, fmt.Errorf("%w: kind %d, class %d", ErrBadEnvelope, d.Kind, d.Class)
	}
	r := reader{rest: b[3:]}
	d.ID = r.str(MaxID)
	d.Key = r.str(MaxKey)
	d.Age = time.Duration(r.count(int(MaxAge.Milliseconds()))) * time.Millisecond
	for range r.count(MaxServices) {
		d.Services = append(d.Services, r.str(MaxService))
	}
	d.userCount = r.count(MaxUsers)
	d.Shared = r.count(d.userCount)
	d.users = r.rest
	for range d.userCount {
		if u := r.str(MaxAddress); len(u) == 0 || len(u) > MaxUserID && !IsTopic(u) {
			r.bad = true
		}
	}
	d.users = d.users[:len(d.users)-len(r.rest)]
	d.Payload = r.str(len(b))
	if r.bad || len(r.rest) != 0 {
		return Delivery{}, fmt.Errorf("%w: truncated, over a limit, or with bytes left over", ErrBadEnvelope)
	}
	return d, nil
}

// KindOf is the kind of the envelope with the wire form b, without a check.
func KindOf(b []byte) Kind {
	if len(b) < 2 {
		return 0
	}
	return Kind(b[1])
}

// Envelope returns a copy of d's header and payload for some of its users, of
// whom the last shared are shared: what is needed to hand it on.
func (d *Delivery) Envelope(kind Kind, users []UserID, shared int) Envelope {
	e := Envelope{
		Kind: kind, Class: d.Class, ID: string(d.ID), Key: string(d.Key),
		Users: users, Shared: shared, Mix: d.Mix, Age: d.Age, Payload: d.Payload,
	}
	for _, s := range d.Services {
		e.Services = append(e.Services, Service(s))
	}
	return e
}

// UserCount is the number of users that Users yields.
func (d *Delivery) UserCount() int { return d.userCount }

// Users yields the users as views of the envelope's bytes.
func (d *Delivery) Users(yield func([]byte) bool) {
	for at := d.Cursor(); at.Left > 0; {
		if !yield(at.Next()) {
			return
		}
	}
}

// Cursor returns a cursor before the first user.
func (d *Delivery) Cursor() Cursor {
	return Cursor{Left: d.userCount, rest: reader{rest: d.users}}
}

// Cursor reads the users of a Delivery one by one, for a reader who pauses.
type Cursor struct {
	Left int // users to come
	rest reader
}

// Next returns the next user, as a view of the envelope's bytes. Only while
// some are Left.
func (c *Cursor) Next() []byte {
	c.Left--
	return c.rest.str(MaxAddress)
}

// reader takes an envelope's fields off its front. After the first field that
// does not fit it is bad and yields only empty values.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) count(limit int) int {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || n > 1 && r.rest[n-1] == 0 || v > uint64(limit) { //nolint:gosec // never negative; a last byte of 0 is needless
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v) //nolint:gosec // bounded by limit above
}

func (r *reader) str(limit int) []byte {
	n := r.count(limit)
	if n > len(r.rest) {
		r.bad = true
		return nil
	}
	s := r.rest[:n:n]
	r.rest = r.rest[n:]
	return s
}
