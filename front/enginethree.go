package front

import (
	"github.com/homing/homing/front/engineio"
	"github.com/homing/homing/front/http1"
	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
)

// This is what is different in sessions of Engine.IO 3. Over WebSocket they have a
// protocol of their own, in which a binary frame says its type. What waits for those
// that are polled is as in version 4, and is put together anew when it is fetched.
// In both the client asks, and the server answers.

var wire3 = engineWire{put: putSocket3, text: engineio.ParseText3, binary: engineio.ParseBinary3, apart: true}

// putSocket3 is putSocket of version 3.
func putSocket3(b []byte, p engineio.Packet) []byte {
	if p.Binary {
		return ws.AppendFrame(b, ws.OpBinary, engineio.AppendBinary3(nil, p.Data))
	}
	return putSocket(b, p)
}

// isThree reports whether the client of c, which has its protocol, speaks version 3.
func (e *engine) isThree(c *conn) bool {
	if !e.three {
		return false
	}
	if x := c.State.extra; x != nil && x.polled != nil {
		return x.polled.three
	}
	return c.State.protocol == e.socket3
}

// pong answers a Ping of c. One of those that wait is enough.
func (e *engine) pong(c *conn) {
	c.State.pinged = e.loop.Now()
	e.loop.Send(c, &loop.Message{Data: e.putOf(c)(nil, engineio.Packet{Type: engineio.Pong}), Key: pongKey})
}

// isThreeRequest reports whether req asks for version 3: old clients do not say so.
func (e *engine) isThreeRequest(req *http1.Request) bool {
	version := req.Query("EIO")
	return e.three && (version == engineio.Version3 || version == "")
}

// speaks reports whether the version that req asks for is spoken.
func (e *engine) speaks(req *http1.Request) bool {
	return req.Query("EIO") == engineio.Version || e.isThreeRequest(req)
}

// wantsBase64 reports whether the client that sends req cannot take octets.
func (e *engine) wantsBase64(req *http1.Request) bool { return req.Query("b64") != "" }

// versions are the sessions over WebSocket, by the version that is spoken in them.
type versions struct {
	four, three *engineSockets // three is nil when that is not spoken
}

func (v versions) of(three bool) *engineSockets {
	if three {
		return v.three
	}
	return v.four
}

// takesOctets reports whether a POST may have a payload that is binary. session is nil
// when it is another process's, which looks at the payload itself.
func (e *engine) takesOctets(req *http1.Request, session *conn) bool {
	if session != nil {
		return session.State.extra.polled.three
	}
	return e.isThreeRequest(req)
}

// next is what reads the packets of a payload.
func (p *polled) next() func([]byte) (engineio.Packet, []byte, error) {
	if p.three {
		return engineio.Next3
	}
	return engineio.Next
}

// answer3 has an answer with packets be one of version 3.
func (p *polled) answer3(answer func(int, []byte)) func(int, []byte) {
	return func(status int, body []byte) { answer(status, p.payload3(body)) }
}

// payload3 is a payload of ours as version 3 has it.
func (p *polled) payload3(payload []byte) []byte {
	var packets []engineio.Packet
	for rest := payload; len(rest) > 0; {
		packet, next, err := engineio.Next(rest)
		if err != nil {
			break // what we have made ourselves can be read
		}
		packets, rest = append(packets, packet), next
	}
	return engineio.AppendPayload3(nil, packets, p.octets)
}
