// Package sse builds server-sent events, as browsers' EventSource reads them
// (WHATWG HTML §9.2). It does no I/O.
package sse

import (
	"bytes"
	"strconv"
	"strings"
)

// ContentType is the type of an event stream. It is always UTF-8.
const ContentType = "text/event-stream"

// Event is one event. Fields that are empty are left out.
type Event struct {
	ID    string // what the client has seen last, from now on; no line end and no NUL, else it is left out
	Name  string // the type; empty: message. No line end
	Data  []byte // empty: the event only sets what else it holds, and nobody is told
	Retry int    // milliseconds that the client waits before it connects again; 0 leaves it as it is
}

// Append appends e to b. Data may have line ends of any kind, which the client
// reads as "\n".
func Append(b []byte, e Event) []byte {
	if e.Retry > 0 {
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, int64(e.Retry), 10)
		b = append(b, '\n')
	}
	if e.ID != "" && !hasAny(e.ID, "\r\n\x00") {
		b = append(b, "id: "...)
		b = append(b, e.ID...)
		b = append(b, '\n')
	}
	if e.Name != "" && !hasAny(e.Name, "\r\n") {
		b = append(b, "event: "...)
		b = append(b, e.Name...)
		b = append(b, '\n')
	}
	if len(e.Data) > 0 {
		b = appendData(b, e.Data)
	}
	return append(b, '\n')
}

// appendData appends one line for each line of data.
func appendData(b, data []byte) []byte {
	for {
		b = append(b, "data: "...)
		i := bytes.IndexAny(data, "\r\n")
		if i < 0 {
			b = append(b, data...)
			return append(b, '\n')
		}
		b = append(b, data[:i]...)
		b = append(b, '\n')
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
}

// Comment is what a client passes over: a sign of life.
const Comment = ":\n\n"

func hasAny(s, chars string) bool { return strings.ContainsAny(s, chars) }
