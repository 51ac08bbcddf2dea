package front

import "github.com/go-json-experiment/json/jsontext"

// homing is what clients of homing.v1 say, whatever carries it: JSON text
// messages, each with a "t" that says what it is. docs/protocol.md describes
// them. The loop owns it.
type homing struct {
	sessions *sessions
	resumes  *resumes
	rooms    *rooms
	lobbies  *lobbies

	subscribes *subscribes
	publishes  *publishes

	parser parser
}

// message takes one message of a client, which is only lent.
func (h *homing) message(c *conn, data []byte) {
	in, err := h.parser.parse(data)
	if err != nil {
		h.sessions.answer(c, `{"t":"error","code":"bad_json"`, nil)
		return
	}
	switch in.kind.value {
	case "ping":
		h.sessions.answer(c, `{"t":"ok"`, in.ref)
	case "resume":
		h.resumes.resume(c, &in)
	case "ack":
		h.resumes.ack(c, &in)
	case "join":
		h.rooms.join(c, &in)
	case "say":
		h.rooms.say(c, in.data, in.ref)
	case "leave":
		h.rooms.leave(c, in.ref)
	case "match", "unmatch", "accept":
		h.lobbies.take(c, &in)
	case "subscribe":
		h.subscribes.subscribe(c, &in)
	case "unsubscribe":
		h.subscribes.unsubscribe(c, &in)
	case "publish":
		h.publishes.take(c, &in)
	default:
		h.sessions.answer(c, `{"t":"error","code":"unknown_type"`, in.ref)
	}
}

// appendRef ends the JSON object that b begins, with the client's reference
// when it gave one.
func appendRef(b []byte, ref jsontext.Value) []byte {
	if len(ref) > 0 {
		b = append(b, `,"ref":`...)
		b = append(b, ref...)
	}
	return append(b, '}')
}
