package clients

import "bytes"

// centrifuge is the JSON form of Centrifuge's client protocol, version 2.
var centrifuge = speech{
	path:  "/connection/websocket",
	query: func(string) string { return "" },
	login: func(token string) []byte { return []byte(`{"id":1,"connect":{"token":"` + token + `"}}`) },
	pong:  []byte("{}"),
	split: []byte("\n"),
	read:  readCentrifuge,
}

var (
	centrifugePush       = []byte(`{"push":{`)
	centrifugePub        = []byte(`"pub":{`)
	centrifugeDisconnect = []byte(`"disconnect":{`)
	centrifugeConnected  = []byte(`{"id":1,"connect":{`)
	centrifugeRefused    = []byte(`{"id":1,"error":`)
)

func readCentrifuge(text []byte) message {
	switch {
	case bytes.HasPrefix(text, centrifugePush):
		return readPush(text[len(centrifugePush):])
	case bytes.Equal(text, []byte("{}")):
		return message{kind: ping}
	case len(text) == 0:
		return message{kind: noise}
	case bytes.HasPrefix(text, centrifugeConnected):
		return message{kind: hello}
	case bytes.HasPrefix(text, centrifugeRefused):
		return farewell("refused", text)
	default:
		return message{kind: violation}
	}
}

// readPush reads what a server says unasked: publications, and news of
// subscriptions, which are of no interest.
func readPush(text []byte) message {
	switch {
	case bytes.Contains(text, centrifugePub):
		return stamped(text)
	case bytes.Contains(text, centrifugeDisconnect):
		return farewell("disconnected", text)
	default:
		return message{kind: noise}
	}
}
