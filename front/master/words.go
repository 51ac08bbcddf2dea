package master

// What a worker and its master say to each other over the control socket, a
// packet each. Both pass over what they do not know, because a worker may be of
// a later or an earlier version than its master.
const (
	// From the worker.
	sayAnswers  = "answers" // it answers pings, and understands mute and listen
	sayWaits    = "waits "  // and for what; said again and again until it is ready
	sayReady    = "ready"
	sayStopping = "stopping"
	sayPong     = "pong " // and its standing; said after its loop has turned

	// From the master. With a descriptor come the words of a connection's kind.
	sayPing   = "ping"
	sayMute   = "mute"
	sayListen = "listen"
	givePlain = "plain"
	giveTLS   = "tls"

	// maxWord is the length of the longest one; what a worker waits for is cut.
	maxWord = 512
)

// What happens to a worker without its saying so.
const (
	exited = "exited"
	late   = "late" // not ready in time
)
