package hub

// Health is what keeps a server from serving now, in words.
type Health struct {
	Down     []string // it cannot take a notification, or not what it was configured for
	Degraded []string // some requests are refused, or answered for a part of their users
}
