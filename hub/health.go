package hub

// Health is what keeps a server from serving now, in words.
type Health struct {
	Down     []string // it cannot take a notification, or not what it was configured for
	Degraded []string // some requests are refused, or answered for a part of their users
}

// Add adds a reason: to Degraded when others serve in the place of what has
// failed, and else to Down.
func (h *Health) Add(spare bool, reason string) {
	if spare {
		h.Degraded = append(h.Degraded, reason)
		return
	}
	h.Down = append(h.Down, reason)
}
