package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
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
	ID   string          // the same on every delivery of the same notification
	Type string          // the application's kind of event; may be empty
	From string          // the service that speaks; may be empty
	Data json.RawMessage // what the backend sent, unchanged

	Stored bool // the server keeps it for a while: a client may resume after it
	Ack    bool // and until it is acknowledged, which Client does
}

// Resumed is the answer to a client that asked for what it missed.
type Resumed struct {
	// Recovered says that nothing is missing that was stored since. Otherwise
	// some is gone for good: ask the game's backend how things stand.
	Recovered bool
	Count     int    // notifications that follow as the replay
	Last      string // where to resume from next time
}

// ServerError is a server's refusal of one message.
type ServerError struct {
	Code string
	Of   string // what was refused, resume or ack; empty for other messages
}

// Reconnect is a server's wish that the client leave and come back.
type Reconnect struct {
	After time.Duration // from when this was read; each client gets a time of its own
	URL   string        // where to; empty means the same address

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
}

// ErrProtocol marks bytes that homing.v1 does not allow a server to send.
var ErrProtocol = errors.New("protocol violation")

// wire is the union of the fields of all server messages.
type wire struct {
	T       string          `json:"t"`
	User    string          `json:"user"`
	Conn    string          `json:"conn"`
	Resume  json.RawMessage `json:"resume"`
	Stored  bool            `json:"stored"`
	Ack     bool            `json:"ack"`
	Ping    int64           `json:"ping"`
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	From    string          `json:"from"`
	Data    json.RawMessage `json:"data"`
	AfterMS int64           `json:"after_ms"`
	URL     string          `json:"url"`

	Recovered bool   `json:"recovered"`
	Count     int    `json:"count"`
	Last      string `json:"last"`
	Code      string `json:"code"`
	Of        string `json:"of"`
}

func parseWire(raw []byte) (wire, error) {
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return w, fmt.Errorf("%w: message is not the JSON expected: %w", ErrProtocol, err)
	}
	if w.T == "" {
		return w, fmt.Errorf(`%w: message without "t"`, ErrProtocol)
	}
	return w, nil
}

func parseMessage(raw []byte) (Message, error) {
	w, err := parseWire(raw)
	if err != nil {
		return Message{}, err
	}
	m := Message{Kind: w.T, Raw: raw}
	switch w.T {
	case "notify":
		m.Notification = &Notification{ID: w.ID, Type: w.Type, From: w.From, Data: w.Data, Stored: w.Stored, Ack: w.Ack}
	case "resumed":
		m.Resumed = &Resumed{Recovered: w.Recovered, Count: max(0, w.Count), Last: w.Last}
	case "error":
		m.Error = &ServerError{Code: w.Code, Of: w.Of}
	case "reconnect":
		m.Reconnect = &Reconnect{After: max(0, time.Duration(w.AfterMS)*time.Millisecond), URL: w.URL, read: time.Now()}
	}
	return m, nil
}

func parseHello(raw []byte) (Hello, error) {
	w, err := parseWire(raw)
	if err != nil {
		return Hello{}, err
	}
	if w.T != "hello" {
		return Hello{}, fmt.Errorf("%w: first message is %q, want hello", ErrProtocol, w.T)
	}
	h := Hello{User: w.User, Conn: w.Conn, Ping: max(0, time.Duration(w.Ping)*time.Millisecond)}
	_ = json.Unmarshal(w.Resume, &h.Resume) // anything but true: it may not
	return h, nil
}
