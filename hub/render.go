package hub

import (
	"bytes"
	"encoding/json"
)

// Render returns the JSON text message that a homing.v1 client reads:
//
//	{"t":"notify","id":…,"stored":true,"ack":true,"topics":…,"kept":true,"user":…,"type":…,"from":…,"data":…}
//
// What is empty is left out: the topics that it is for, whether one of them keeps it,
// the player that published it, type and from. stored says that an inbox keeps it and ack that it does until
// the client acknowledges it. It is called once per notification;
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
	if len(n.Topics) > 0 {
		b = append(b, `,"topics":`...)
		b = appendJSONStrings(b, n.Topics)
	}
	if n.Kept {
		b = append(b, `,"kept":true`...)
	}
	if n.Sender != "" {
		b = append(b, `,"user":`...)
		b = appendJSONString(b, string(n.Sender))
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
	return bytes.HasPrefix(afterID(payload), []byte(`,"stored":true`))
}

// IsKept reports whether a payload that Render built says that an inbox or a topic
// keeps the notification: it may be replayed.
func IsKept(payload []byte) bool {
	rest, ok := bytes.CutPrefix(afterID(payload), []byte(`,"topics":[`))
	if !ok {
		return IsStored(payload) // which does not go with topics
	}
	_, rest, _ = bytes.Cut(rest, []byte("]")) // is in no topic
	return bytes.HasPrefix(rest, []byte(`,"kept":true`))
}

// afterID is what follows the id in a payload that Render built; empty: none did.
func afterID(payload []byte) []byte {
	rest, ok := bytes.CutPrefix(payload, []byte(`{"t":"notify","id":"`))
	for ok && len(rest) > 0 && rest[0] != '"' {
		if rest[0] == '\\' && len(rest) > 1 {
			rest = rest[1:] // what is escaped is no end
		}
		rest = rest[1:]
	}
	if !ok || len(rest) == 0 {
		return nil
	}
	return rest[1:]
}

// appendJSONStrings appends the JSON array of s, which is not empty.
func appendJSONStrings[S ~string](b []byte, s []S) []byte {
	for i, e := range s {
		b = append(b, "[,"[min(i, 1)])
		b = appendJSONString(b, string(e))
	}
	return append(b, ']')
}

func appendJSONString(b []byte, s string) []byte {
	q, _ := json.Marshal(s) // a string always marshals
	return append(b, q...)
}
