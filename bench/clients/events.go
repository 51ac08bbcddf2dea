package clients

import "bytes"

// events are Homing's messages as server-sent events: the client asks once, by
// plain HTTP, and reads.
var events = speech{
	path:    "/events",
	query:   func(token string) string { return "?token=" + token },
	carrier: stream,
	read:    readEvent,
}

var (
	dataField = []byte("data: ")
	endOfLine = []byte("\n")
)

// readEvent reads one event, without the blank line that ends it.
func readEvent(text []byte) message {
	if bytes.HasPrefix(text, []byte(":")) {
		return message{kind: noise} // a comment
	}
	for len(text) > 0 {
		var line []byte
		if line, text, _ = bytes.Cut(text, endOfLine); bytes.HasPrefix(line, dataField) {
			return readHoming(line[len(dataField):])
		}
	}
	return message{kind: violation}
}
