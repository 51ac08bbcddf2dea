package clients

import "bytes"

// socketIO is Socket.IO 4 over Engine.IO 4, on WebSocket from the start. Its
// texts begin with the packet's type as Engine.IO has it, and in a message (4)
// with that of Socket.IO as the second.
var socketIO = speech{
	path:    "/socket.io/",
	query:   func(string) string { return "?EIO=4&transport=websocket" },
	login:   func(token string) []byte { return []byte(`40{"token":"` + token + `"}`) },
	invited: true,
	pong:    []byte("3"),
	read:    readSocketIO,
}

var socketIONotify = []byte(`42["notify",`)

func readSocketIO(text []byte) message {
	switch {
	case bytes.HasPrefix(text, socketIONotify):
		return stamped(text)
	case bytes.Equal(text, []byte("2")):
		return message{kind: ping}
	case bytes.Equal(text, []byte("6")):
		return message{kind: noise}
	case bytes.HasPrefix(text, []byte("0{")):
		return message{kind: invitation}
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
