package crowd

import (
	"bytes"

	"github.com/gobwas/ws"
)

// socketIO is Socket.IO 4 over Engine.IO 4, on WebSocket from the start.
var socketIO = speech{
	says:   ws.OpText,
	answer: []byte("3"),
	position: func(dst []byte, p position) []byte {
		return append(positionText(append(dst, `42["move",`...), p), ']')
	},
	read: readSocketIO,
	own:  ownText,
}

var (
	socketIOFrame  = []byte(`42["frame",{"tick":`)
	socketIOJoined = []byte(`42["joined",`)
)

func readSocketIO(op ws.OpCode, text []byte) message {
	switch {
	case op != ws.OpText:
		return message{kind: violation}
	case bytes.HasPrefix(text, socketIOFrame):
		return frameOf(text[len(socketIOFrame):])
	case bytes.Equal(text, []byte("2")):
		return message{kind: ping}
	case bytes.HasPrefix(text, []byte("0{")):
		return message{kind: invitation}
	case bytes.HasPrefix(text, []byte("40")):
		return message{kind: noise}
	case bytes.HasPrefix(text, socketIOJoined):
		return message{kind: seated}
	case bytes.HasPrefix(text, []byte("44")):
		return farewell("refused", text[2:])
	case bytes.HasPrefix(text, []byte("41")), bytes.Equal(text, []byte("1")):
		return farewell("disconnected", nil)
	default:
		return message{kind: violation}
	}
}
