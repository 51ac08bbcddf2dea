package clients

import (
	"bytes"

	"github.com/gobwas/ws"
)

// socketIO is Socket.IO 4 over Engine.IO 4, on WebSocket from the start. Its
// texts begin with the packet's type as Engine.IO has it, and in a message (4)
// with that of Socket.IO as the second.
var socketIO = speech{
	path:    "/socket.io/",
	query:   func(string) string { return socketQuery },
	login:   func(token string) []byte { return []byte(`40{"token":"` + token + `"}`) },
	invited: true,
	pong:    []byte("3"),
	read:    readSocketIO,
}

// socketIOBy is socketIO that something else carries.
func socketIOBy(c carrier) speech {
	s := socketIO
	s.carrier, s.split = c, separator
	return s
}

const (
	socketQuery  = "?EIO=4&transport=websocket"
	pollingQuery = "?EIO=4&transport=polling"
	sessionQuery = "&sid="
)

// Texts of Engine.IO: with probe a client tries a WebSocket for a session that it polls,
// and with goOver it goes over to that. separator stands between packets of a payload.
var (
	probe     = []byte("2probe")
	goOver    = []byte("5")
	separator = []byte{0x1e}
)

var (
	socketIOEvent     = []byte(`42["`)
	socketIONotify    = []byte(`42["notify",`)
	socketIOReconnect = []byte(`42["reconnect",`)
	socketIOClosing   = []byte(`42["closing",`)
	closingCode       = []byte(`"code":`)
)

func readSocketIO(text []byte) message {
	switch {
	case bytes.HasPrefix(text, socketIOEvent):
		return readSocketIOEvent(text)
	case bytes.Equal(text, []byte("2")):
		return message{kind: ping}
	case bytes.Equal(text, []byte("6")):
		return message{kind: noise}
	case bytes.HasPrefix(text, []byte("0{")):
		return message{kind: invitation}
	case bytes.Equal(text, []byte("3probe")):
		return message{kind: probed}
	case bytes.HasPrefix(text, []byte("40")):
		return message{kind: hello}
	case bytes.HasPrefix(text, []byte("44")):
		return farewell("refused", text[2:])
	case bytes.HasPrefix(text, []byte("41")), bytes.Equal(text, []byte("1")):
		return farewell("disconnected", nil)
	default:
		return message{kind: violation}
	}
}

// readSocketIOEvent reads an event: those of Homing have its messages as arguments.
func readSocketIOEvent(text []byte) message {
	switch {
	case bytes.HasPrefix(text, socketIONotify):
		return stamped(text)
	case bytes.HasPrefix(text, socketIOReconnect):
		return comeBack(text)
	case bytes.HasPrefix(text, socketIOClosing):
		_, after, _ := bytes.Cut(text, closingCode)
		code, _ := digits(after)
		return message{kind: goodbye, end: closedWith(ws.StatusCode(code), "")}
	}
	for _, name := range [][]byte{[]byte("hello"), []byte("presence"), []byte("place")} {
		if bytes.HasPrefix(text[len(socketIOEvent):], name) {
			return message{kind: noise}
		}
	}
	return message{kind: violation}
}
