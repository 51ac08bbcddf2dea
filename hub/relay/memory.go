package relay

// memory is bytes that are kept for many others. One of them may have as much
// as is left free: alone at most half of it, two that stand still a third each,
// and so on, so that there is always room for the next (a dynamic threshold).
// The zero limit has no room.
//
//bound:relay-retained
type memory struct {
	limit int
	used  int
}

// fits reports whether one that has held bytes may have more besides.
func (m *memory) fits(held, more int) bool { return held+more <= m.limit-m.used-more }

// overhead is what one message costs besides its bytes; with it the bound on
// bytes bounds the count of small messages too.
const overhead = 160

// costOf is what it costs to keep a message.
func costOf(body []byte) int { return len(body) + overhead }
