package conformance

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

// Situation is something that a client must get through, step by step.
type Situation struct {
	Name  string   `json:"name"`
	About string   `json:"about"`           // what the client must do, in a sentence
	Needs []string `json:"needs,omitempty"` // abilities; a client without one is not asked
	Start Start    `json:"start"`
	Steps []Step   `json:"steps"`
}

// Start is how the client is started. See README.md for its meaning to agents.
type Start struct {
	Tokens []string `json:"tokens,omitempty"` // one for each time that the client asks; the last one again and again. None: "t1"
	Place  string   `json:"place,omitempty"`  // what an earlier run has kept
	Hold   []string `json:"hold,omitempty"`   // ids at which the handler waits for "handled" or "fail"
}

// Step is one thing that the server does, or that must happen. One of the fields
// below On is set.
type Step struct {
	// On names the connection that the step is about; empty: the one that was
	// accepted last.
	On string `json:"on,omitempty"`

	Accept    *Accept `json:"accept,omitempty"`
	Refuse    *Refuse `json:"refuse,omitempty"`
	Drop      *Within `json:"drop,omitempty"`      // the next attempt is cut off without an answer
	NoAttempt int     `json:"noAttempt,omitempty"` // no attempt for so many ms

	Send       json.RawMessage `json:"send,omitempty"`       // to the client
	SendBinary string          `json:"sendBinary,omitempty"` // hexadecimal
	Read       json.RawMessage `json:"read,omitempty"`       // the client's next message of this "t" has these fields
	ReadBinary string          `json:"readBinary,omitempty"` // its next binary message, hexadecimal
	Acked      []string        `json:"acked,omitempty"`      // the client acknowledges these, in any order
	Quiet      *Quiet          `json:"quiet,omitempty"`      // it sends no such message for a while
	Close      *Close          `json:"close,omitempty"`      // the server closes in form
	Closed     int             `json:"closed,omitempty"`     // the client closes with this code, and is answered
	Cut        bool            `json:"cut,omitempty"`        // the connection ends without a word
	Freeze     bool            `json:"freeze,omitempty"`     // the server says and reads nothing more, and keeps the connection

	Tell   json.RawMessage `json:"tell,omitempty"`   // a command for the agent
	Hear   json.RawMessage `json:"hear,omitempty"`   // what it says next of this "event"
	Unsaid *Unsaid         `json:"unsaid,omitempty"` // it says no such thing for a while
	Sleep  int             `json:"sleep,omitempty"`  // ms
}

// Within is when an attempt comes, in ms since the last end of a connection or
// of an attempt: from the first to the second. Empty: whenever.
type Within struct {
	After []int `json:"after,omitempty"`
}

// Accept is an attempt to connect that works.
type Accept struct {
	Within

	As          string         `json:"as,omitempty"`     // names the connection
	Token       string         `json:"token,omitempty"`  // that the client must show; empty: any
	Path        string         `json:"path,omitempty"`   // that it must ask for; empty: any
	Host        string         `json:"host,omitempty"`   // that it must have connected to; empty: any
	Room        *string        `json:"room,omitempty"`   // the ticket that it must show; nil: any
	Stream      bool           `json:"stream,omitempty"` // an event stream, not a WebSocket
	LastEventID *string        `json:"lastEventId,omitempty"`
	Hello       map[string]any `json:"hello,omitempty"` // fields that differ from the usual ones; null leaves one out
	NoHello     bool           `json:"noHello,omitempty"`
}

// Refuse is an attempt that is answered with an HTTP status.
type Refuse struct {
	Within

	Status int    `json:"status"`
	Code   string `json:"code,omitempty"` // of the problem document
	Token  string `json:"token,omitempty"`
	Stream bool   `json:"stream,omitempty"` // it asks for an event stream
	Host   string `json:"host,omitempty"`   // that it must have connected to; empty: any
	// Header are further headers. A value "$date+2" is the server's time, an hour
	// slow, and so many seconds.
	Header map[string]string `json:"header,omitempty"`
}

// Quiet says that no message of a kind comes for so many ms. "any": none at all,
// but for pings.
type Quiet struct {
	T  string `json:"t"`
	MS int    `json:"ms"`
}

// Unsaid says that the agent does not say something for so many ms.
type Unsaid struct {
	Event string `json:"event"`
	MS    int    `json:"ms"`
}

// Close is how the server closes.
type Close struct {
	Code   int    `json:"code"`
	Reason string `json:"reason,omitempty"`
}

//go:embed situations.json
var list []byte

// Situations returns the list.
func Situations() ([]Situation, error) { return parse(list) }

func parse(text []byte) ([]Situation, error) {
	var all []Situation
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("read the situations: %w", err)
	}
	var names []string
	for _, s := range all {
		if s.Name == "" || slices.Contains(names, s.Name) {
			return nil, fmt.Errorf("read the situations: the name %q is empty or there twice", s.Name)
		}
		names = append(names, s.Name)
		for i, step := range s.Steps {
			if n := step.count(); n != 1 {
				return nil, fmt.Errorf("read the situations: step %d of %s says %d things, want one", i+1, s.Name, n)
			}
		}
	}
	return all, nil
}

// count is how many things a step says.
func (s *Step) count() (n int) {
	for _, is := range []bool{
		s.Accept != nil, s.Refuse != nil, s.Drop != nil, s.NoAttempt > 0, s.Send != nil, s.SendBinary != "",
		s.Read != nil, s.ReadBinary != "", s.Acked != nil, s.Quiet != nil, s.Close != nil, s.Closed > 0,
		s.Cut, s.Freeze, s.Tell != nil, s.Hear != nil, s.Unsaid != nil, s.Sleep > 0,
	} {
		if is {
			n++
		}
	}
	return n
}

// streams reports whether event streams are part of the situation. Where they are
// not, a client that asks for one after a refusal gets the same refusal.
func (s *Situation) streams() bool {
	return slices.ContainsFunc(s.Steps, func(s Step) bool {
		return s.Accept != nil && s.Accept.Stream || s.Refuse != nil && s.Refuse.Stream
	})
}
