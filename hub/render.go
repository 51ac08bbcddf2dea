package hub

import (
	"bytes"
	"encoding/json"
)

// Render returns the JSON text message that a homing.v1 client reads:
//
//	{"t":"notify","id":…,"stored":true,"ack":true,"type":…,"from":…,"data":…}
//
// type and from are left out when empty; stored says that an inbox keeps it
// and ack that it does until the client acknowledges it. It is called once per notification;
// every envelope and socket shares the bytes. docs/protocol.md describes it.
func (n *Notification) Render() []byte {
	b := make([]byte, 0, 96+len(n.ID)+len(n.Type)+len(n.From)+len(n.Data))
	b = append(b, `{"t":"notify","id":`...)
	b = appendJSONString(b, n.ID)
	if n.Store > 0 {
		b = append(b, `,"stored":true`...)
	}
	if n.Store > 0 && n.Class == ClassMust {
		b = append(b, `,"ack":true`...)
	}
	if n.Type != "" {
		b = append(b, `,"type":`...)
		b = appendJSONString(b, n.Type)
	}
	if n.From != "" {
		b = append(b, `,"from":`...)
		b = appendJSONString(b, string(n.From))
	}
	b = append(b, `,"data":`...)
	b = append(b, n.Data...)
	return append(b, '}')
}

// IsStored reports whether a payload that Render built says that an inbox keeps
// the notification: its id is one to resume after.
func IsStored(payload []byte) bool {
	rest, ok := bytes.CutPrefix(payload, []byte(`{"t":"notify","id":"`))
	for ok && len(rest) > 0 && rest[0] != '"' {
		if rest[0] == '\\' && len(rest) > 1 {
			rest = rest[1:] // what is escaped is no end
		}
		rest = rest[1:]
	}
	return ok && bytes.HasPrefix(rest, []byte(`","stored":true`))
}

func appendJSONString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always marshals
	return append(b, q...)
}
