package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits on one notification.
const (
	MaxUsers    = 10_000   // users of one notification
	MaxServices = 64       // services that one notification may be limited to
	MaxData     = 64 << 10 // bytes of Data
	MaxType     = 128      // bytes of Type
	MaxKey      = 128      // bytes of Key
	MaxID       = 64       // bytes of ID

	// MaxStore is the longest Store; a deployment may allow less.
	MaxStore = 30 * 24 * time.Hour

	// MaxWait is the longest that a caller may wait for receipts: within any
	// time that a proxy before an API server leaves a request.
	MaxWait = 5 * time.Second
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrInvalid marks what breaks a limit, or asks for what cannot be.
	ErrInvalid = errors.New("invalid")
	// ErrUnavailable marks a failure of Redis: the caller may try again.
	ErrUnavailable = errors.New("hub unavailable")
)

// Class says what happens to a message that a slow connection cannot take.
type Class uint8

const (
	// ClassMust closes the connection when its outbox is full, so that the
	// loss is seen and repaired. It is the default.
	ClassMust Class = iota
	// ClassLatest replaces a waiting message with the same Key.
	ClassLatest
	// ClassDroppable gives up the oldest waiting droppable message.
	ClassDroppable
	// Classes is how many there are.
	Classes
)

var classNames = [Classes]string{ClassMust: "must", ClassLatest: "latest", ClassDroppable: "droppable"}

// String returns the name that the APIs use.
func (c Class) String() string {
	if c < Classes {
		return classNames[c]
	}
	return "class(" + strconv.Itoa(int(c)) + ")"
}

// ParseClass is the inverse of String; the empty string is ClassMust.
func ParseClass(s string) (Class, error) {
	if s == "" {
		return ClassMust, nil
	}
	if i := slices.Index(classNames[:], s); i >= 0 {
		return Class(i), nil //nolint:gosec // an index of classNames
	}
	return 0, Invalid("class", "%q, want one of %s", s, strings.Join(classNames[:], ", "))
}

// Notification is what a game backend wants its players to hear.
type Notification struct {
	ID       string          // unique; a ULID unless the caller chose it
	Users    []UserID        // the targets; empty for a broadcast
	Topics   []Topic         // whose members are targets, too
	Sender   UserID          // the player that speaks; empty: a backend does
	Keep     Keep            // how long topics keep it; zero: as the deployment says
	Kept     bool            // one of them does; the dispatcher says so
	Services []Service       // only connections of these services; empty: all
	Type     string          // the application's kind of event; may be empty
	From     Service         // the service that speaks; may be empty
	Data     json.RawMessage // valid JSON; rendered as given
	Class    Class
	Key      string        // what ClassLatest replaces by; empty for other classes
	Store    time.Duration // how long to keep it for users who are away; 0: not at all; not for a broadcast
	Wait     time.Duration // how long to wait for receipts; 0: not at all; not for a broadcast
	PerUser  bool          // the report names every user's fate
	Account  Account       // who is charged for what is stored

	// Heard, if not nil, is called whenever a process has said how many connections
	// it told as members of Topics, by any goroutine. It must not block.
	Heard func(connections int)

	// Sent, if not nil, is called when all was sent and only receipts are
	// waited for, by the goroutine of whoever sends.
	Sent func()
}

// Keep bounds the history of a topic, or what one notification asks of it.
type Keep struct {
	Count int           // messages
	Age   time.Duration // how long each is kept
}

// Zero reports whether k asks for nothing.
func (k Keep) Zero() bool { return k == Keep{} }

// Summary says how many users a notification was sent to when it was accepted.
type Summary struct {
	ID        string `json:"id"`
	Targets   int    `json:"targets"`   // distinct users asked for
	Online    int    `json:"online"`    // of those, users held by a live process
	Offline   int    `json:"offline"`   // of those, users that none holds
	Processes int    `json:"processes"` // envelopes sent

	Topics *int `json:"topics,omitempty"` // topics with members, of a notification for some; else nil

	// Untold are processes that have too much unconfirmed: the members of topics there
	// were not told.
	Untold int `json:"processes_untold,omitzero"`

	// Unavailable users stand on a data shard that does not answer: nobody can
	// say whether they are online, and nothing was sent to them.
	Unavailable int `json:"unavailable,omitzero"`

	Report *Report `json:"report,omitempty"` // with a Wait
}

// Presence is where one user is connected.
type Presence struct {
	User      UserID
	Processes []Holding // empty: offline
}

// Holding is what one live process holds of a user.
type Holding struct {
	Process  ProcessID
	Services []ServiceCount
}

// ServiceCount counts a user's connections opened from one service.
type ServiceCount struct {
	Service Service
	Count   int // at least 1
}

// RoleFront is the role of processes that hold connections, the only ones
// that have leases so far.
const RoleFront = "front"

// Process describes one live process, as its lease says.
type Process struct {
	ID          ProcessID `json:"id"`
	Node        string    `json:"node"`        // the host or pod
	PID         int       `json:"pid"`         // the operating system's process id
	Role        string    `json:"role"`        // RoleFront
	Started     int64     `json:"started"`     // Unix seconds
	Connections int       `json:"connections"` // held when the lease was renewed
}

// CheckBody validates all but the users: what a notification and a broadcast
// have in common. Errors are of type *FieldError.
func (n *Notification) CheckBody() error {
	if err := checkID(n.ID); err != nil {
		return err
	}
	if len(n.Type) > MaxType {
		return tooLong("type", len(n.Type), MaxType)
	}
	if n.From != "" {
		if err := n.From.Check(); err != nil {
			return Invalid("from", "%v", err)
		}
	}
	if err := checkServices(n.Services); err != nil {
		return err
	}
	switch {
	case len(n.Data) == 0:
		return Invalid("data", "missing")
	case len(n.Data) > MaxData:
		return tooLong("data", len(n.Data), MaxData)
	case len(n.Key) > MaxKey:
		return tooLong("key", len(n.Key), MaxKey)
	case n.Class == ClassLatest && n.Key == "":
		return Invalid("key", "class latest needs the key it replaces by")
	case n.Class != ClassLatest && n.Key != "":
		return Invalid("key", "only class latest takes a key")
	case n.Store < 0 || n.Store > MaxStore:
		return Invalid("store", "%v, want 0 to %v", n.Store, MaxStore)
	}
	return nil
}

func checkID(id string) error {
	if len(id) > MaxID {
		return tooLong("id", len(id), MaxID)
	}
	for i := range len(id) {
		if id[i] < '!' || id[i] > '~' {
			return Invalid("id", "byte %#02x at %d, want printable ASCII without space", id[i], i)
		}
	}
	return nil
}

func checkServices(services []Service) error {
	if len(services) > MaxServices {
		return Invalid("services", "%d services, want at most %d", len(services), MaxServices)
	}
	for i, s := range services {
		if err := s.Check(); err != nil {
			return Invalid(fmt.Sprintf("services[%d]", i), "%v", err)
		}
	}
	return nil
}

// CheckUsers validates the targets. Errors are of type *FieldError.
func CheckUsers(users []UserID) error {
	if len(users) == 0 || len(users) > MaxUsers {
		return Invalid("users", "%d users, want 1 to %d", len(users), MaxUsers)
	}
	for i, u := range users {
		if err := u.Check(); err != nil {
			return Invalid(fmt.Sprintf("users[%d]", i), "%v", err)
		}
	}
	return nil
}

// Distinct returns users without repeats. When there are none, which is the
// rule, it returns the very slice it was given.
func Distinct(users []UserID) []UserID {
	seen := make(map[UserID]struct{}, len(users))
	for _, u := range users {
		seen[u] = struct{}{}
	}
	if len(seen) == len(users) {
		return users
	}
	out := make([]UserID, 0, len(seen))
	for _, u := range users {
		if _, first := seen[u]; first {
			delete(seen, u)
			out = append(out, u)
		}
	}
	return out
}

func tooLong(field string, n, limit int) error {
	return Invalid(field, "%d bytes, want at most %d", n, limit)
}
