package relay

import "slices"

const (
	// maxReplyBytes bounds the replies kept for one sender, beside maxReplies.
	maxReplyBytes = 256 << 10
	// repeatBytes bounds the replies that an ack tells once more, in case the
	// one before it was lost.
	repeatBytes = 32 << 10
)

// replies are those that one sender may not have received. It is told each at
// once and, as long as there are few, again with the next acks; of a message
// that it repeats it is told all. When there are too many the oldest go.
//
//bound:relay-replies
type replies struct {
	kept   []reply // as many as one ack holds
	bytes  int     // of them
	untold int     // the last so many were not told yet
	unsent int     // bytes of those
	lost   int     // gone untold
}

// add keeps r and reports whether one ack holds no more than what is untold.
func (rs *replies) add(r reply) (full bool) {
	rs.kept = append(rs.kept, r)
	rs.bytes += len(r.body)
	rs.untold++
	rs.unsent += len(r.body)
	for len(rs.kept) > maxReplies || rs.bytes > maxReplyBytes {
		rs.drop()
	}
	return rs.untold == maxReplies || rs.unsent > maxReplyBytes-MaxReply
}

// drop gives up the oldest.
func (rs *replies) drop() {
	size := len(rs.kept[0].body)
	if len(rs.kept) == rs.untold {
		rs.untold--
		rs.unsent -= size
		rs.lost++
	}
	rs.bytes -= size
	rs.kept[0] = reply{}
	rs.kept = rs.kept[1:]
}

// forget lets go of the replies to messages below lowest: the sender has them.
func (rs *replies) forget(lowest uint64) {
	rs.kept = slices.DeleteFunc(rs.kept, func(r reply) bool {
		if r.seq < lowest {
			rs.bytes -= len(r.body)
		}
		return r.seq < lowest
	})
	if rs.untold = min(rs.untold, len(rs.kept)); len(rs.kept) == 0 {
		rs.kept = nil
	}
	rs.unsent = min(rs.unsent, rs.bytes)
}

// tell returns what the next ack is to say, which counts as told: all that is
// kept, or what is untold and a few before it. It also returns how many were
// lost since it was called last.
func (rs *replies) tell(all bool) (now []reply, lost int) {
	from, room := len(rs.kept)-rs.untold, repeatBytes
	for from > 0 && (all || len(rs.kept[from-1].body) <= room) {
		from--
		room -= len(rs.kept[from].body)
	}
	lost = rs.lost
	rs.untold, rs.unsent, rs.lost = 0, 0, 0
	return rs.kept[from:], lost
}
