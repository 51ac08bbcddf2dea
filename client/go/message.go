package client

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Hello is the first thing a server says: the connection is registered, and
// what is sent to the user from now on reaches it.
type Hello struct {
	User   string        // the user that the token names
	Conn   string        // this connection's id, unique in the deployment
	Resume bool          // the server keeps notifications: a client may resume
	Ping   time.Duration // how often the server pings a silent connection; 0 when it does not say
}

// Notification is one message for the user.
type Notification struct {
	ID   string             `json:"id"`   // the same on every delivery of the same notification
	Type string             `json:"type"` // the application's kind of event; may be empty
	From string             `json:"from"` // the service that speaks; may be empty
	Data stdjson.RawMessage `json:"data"` // what the backend sent, unchanged

	Topics []string `json:"topics"` // what it was sent to beside users; none: to users only
	User   string   `json:"user"`   // the player that published it; empty: a backend did
	Kept   bool     `json:"kept"`   // a topic keeps it: a client may subscribe after it

	Stored bool `json:"stored"` // the server keeps it for a while: a client may resume after it
	Ack    bool `json:"ack"`    // and until it is acknowledged, which Client does
}

// Resumed is the answer to a client that asked for what it missed.
type Resumed struct {
	// Recovered says that nothing is missing that was stored since. Otherwise
	// some is gone for good: ask the game's backend how things stand.
	Recovered bool   `json:"recovered"`
	Count     int    `json:"count"` // notifications that follow as the replay
	Last      string `json:"last"`  // where to resume from next time
}

// ServerError is a server's refusal of one message.
type ServerError struct {
	Code string `json:"code"`
	Of   string `json:"of"` // what was refused, resume or subscribe for example; empty: the server does not say
}

// Reconnect is a server's wish that the client leave and come back.
type Reconnect struct {
	After time.Duration // from when this was read; each client gets a time of its own
	To    string        // the host, and port, to connect to once, by the client's own scheme and path; empty means the same

	read time.Time
}

// left is how much of After is still to wait.
func (r *Reconnect) left() time.Duration { return max(0, r.After-time.Since(r.read)) }

// Message is what a server says after its hello. The pointer that belongs to
// Kind is set; kinds that this package does not know carry only Raw.
type Message struct {
	Kind         string // the protocol's "t"
	Notification *Notification
	Reconnect    *Reconnect
	Resumed      *Resumed
	Error        *ServerError
	Raw          []byte // the whole JSON text; the receiver's to keep

	ref string // of an error: of the message that was refused
}

// ErrProtocol marks bytes that homing.v1 does not allow a server to send.
var ErrProtocol = errors.New("protocol violation")

// maxID bounds the ids that are remembered and sent back; the protocol's are
// up to 64 bytes.
const maxID = 256

// lenient is how a server's JSON is read: names that repeat and odd strings
// are the business of whoever wrote the data. Names are told apart by case, so
// that a field that is not known is never taken for one that is.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// parse reads into v, a pointer to a struct, the fields that it names; the
// others may hold anything.
func parse(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v, lenient); err != nil {
		return fmt.Errorf("%w: message is not the JSON expected: %w", ErrProtocol, err)
	}
	return nil
}

// kindOf returns a message's "t".
func kindOf(raw []byte) (string, error) {
	var m struct {
		T string `json:"t"`
	}
	if err := parse(raw, &m); err != nil {
		return "", err
	}
	if m.T == "" {
		return "", fmt.Errorf(`%w: message without "t"`, ErrProtocol)
	}
	return m.T, nil
}

// parseMessage looks into the kinds that it knows only: what another kind's
// fields hold is not for this client to say.
func parseMessage(raw []byte) (Message, error) {
	kind, err := kindOf(raw)
	if err != nil {
		return Message{}, err
	}
	m := Message{Kind: kind, Raw: raw}
	switch kind {
	case "notify":
		m.Notification, err = parseNotification(raw)
	case "resumed":
		m.Resumed, err = parseResumed(raw)
	case "error":
		m.Error, m.ref, err = parseError(raw)
	case "reconnect":
		m.Reconnect, err = parseReconnect(raw)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// parseError returns a refusal and the ref of what was refused, if it is one of ours:
// a string.
func parseError(raw []byte) (e *ServerError, ref string, err error) {
	var w struct {
		ServerError
		Ref jsontext.Value `json:"ref"`
	}
	if err = parse(raw, &w); err != nil {
		return nil, "", err
	}
	_ = stdjson.Unmarshal(w.Ref, &ref) // another one is none of ours
	return &w.ServerError, ref, nil
}

func parseNotification(raw []byte) (*Notification, error) {
	n := new(Notification)
	if err := parse(raw, n); err != nil {
		return nil, err
	}
	return n, checkID(n.ID)
}

func parseResumed(raw []byte) (*Resumed, error) {
	r := new(Resumed)
	if err := parse(raw, r); err != nil {
		return nil, err
	}
	r.Count = max(0, r.Count)
	return r, checkID(r.Last)
}

func checkID(id string) error {
	if len(id) > maxID {
		return fmt.Errorf("%w: id of %d bytes", ErrProtocol, len(id))
	}
	return nil
}

func parseReconnect(raw []byte) (*Reconnect, error) {
	var w struct {
		AfterMS float64 `json:"after_ms"`
		To      string  `json:"to"`
	}
	if err := parse(raw, &w); err != nil {
		return nil, err
	}
	return &Reconnect{After: millis(w.AfterMS), To: w.To, read: time.Now()}, nil
}

func parseHello(raw []byte) (Hello, error) {
	kind, err := kindOf(raw)
	if err != nil {
		return Hello{}, err
	}
	if kind != "hello" {
		return Hello{}, fmt.Errorf("%w: first message is %q, want hello", ErrProtocol, kind)
	}
	var w struct {
		User   string         `json:"user"`
		Conn   string         `json:"conn"`
		Resume jsontext.Value `json:"resume"`
		Ping   float64        `json:"ping"`
	}
	if err := parse(raw, &w); err != nil {
		return Hello{}, err
	}
	// Anything but true: it may not.
	return Hello{User: w.User, Conn: w.Conn, Resume: string(w.Resume) == "true", Ping: millis(w.Ping)}, nil
}

// longestSpan is a year: more than any wait or interval that makes sense, and
// far from the end of a time.Duration.
const longestSpan = 365 * 24 * time.Hour

// millis is a span that a server names in milliseconds; negative is none, and
// what is too large is cut.
func millis(ms float64) time.Duration {
	ms = math.Min(ms, float64(longestSpan/time.Millisecond))
	return time.Duration(math.Max(0, ms) * float64(time.Millisecond))
}
