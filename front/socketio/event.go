package socketio

import (
	"bytes"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// reserved are names of events that the libraries emit by themselves.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// maxArgs is how many arguments an event may have.
const maxArgs = 16

var (
	errName = errors.New("an event without a name, or with a reserved one")
	errArgs = errors.New("an event with too many arguments")
)

// Event returns the name and the arguments of an event, of which they are a part.
func (p *Packet) Event() (name string, args []jsontext.Value, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(p.Data))
	if _, err := dec.ReadToken(); err != nil { // the array's begin
		return "", nil, err
	}
	if dec.PeekKind() != '"' {
		return "", nil, errName
	}
	token, err := dec.ReadToken()
	if err != nil {
		return "", nil, err
	}
	if name = token.String(); slices.Contains(reserved, name) {
		return "", nil, errName
	}
	for dec.PeekKind() != ']' {
		if len(args) == maxArgs {
			return "", nil, errArgs
		}
		v, err := dec.ReadValue()
		if err != nil {
			return "", nil, err
		}
		args = append(args, v.Clone())
	}
	return name, args, nil
}

// AppendEvent appends the data of an event, with arguments that are JSON.
func AppendEvent(b []byte, name string, args ...[]byte) []byte {
	b = append(b, '[')
	b, _ = jsontext.AppendQuote(b, name) // what is not UTF-8 is replaced
	for _, arg := range args {
		b = append(b, ',')
		b = append(b, arg...)
	}
	return append(b, ']')
}
