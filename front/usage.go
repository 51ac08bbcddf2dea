package front

import (
	"math"

	"github.com/homing/homing/front/loop"
	"github.com/homing/homing/front/ws"
)

// resource is something that clients use as much of as they choose.
type resource uint8

const (
	useMessages resource = iota // messages and control frames
	useBytes                    // bytes read from sockets, whatever they are
	useInbox                    // work at the inbox, see inboxCost
	usePublish                  // messages published to topics
	resourceCount
)

// What a client is charged besides its messages and their bytes.
const (
	// connectCost is what connecting costs, in bytes read: a handshake takes
	// about as much work. It keeps a user from connecting all the time.
	connectCost = 16 << 10
	// resumeCost and ackCost are units of inbox work: of one read of the inbox,
	// and of one call that acknowledges, beside one unit for each id.
	resumeCost, ackCost = 50, 1
)

// allowance is how much of each resource may be used.
type allowance [resourceCount]limit

// limit allows rate units per second in the long run, and burst at once. A rate
// of 0 is no limit.
type limit struct{ rate, burst uint32 }

// newLimit caps what it is given at what a usage can count.
func newLimit(rate, burst int) limit {
	const most = math.MaxUint32 / 10
	return limit{uint32(min(rate, most)), uint32(min(burst, most))}
}

// newAllowances returns what one connection may use, and what all connections
// of one user may use together.
func newAllowances(c *Config) (conn, user allowance) {
	longest := c.MaxMessage + ws.MaxHeader
	longest += longest / 8                     // over TLS, in short records
	longest = max(longest, 2*c.HandshakeLimit) // which is charged before the client has a token
	of := func(share int) allowance {
		return allowance{
			useMessages: newLimit(share*c.MessageRate, share*c.MessageBurst),
			useBytes:    newLimit(share*c.ByteRate, share*max(c.ByteBurst, longest)),
			useInbox:    newLimit(c.InboxRate, c.InboxBurst),
			usePublish:  newLimit(c.PublishRate, c.PublishBurst),
		}
	}
	return of(1), of(c.UserShare)
}

// usage is what somebody has used lately: a leaky bucket for each resource, in
// tenths of a unit, so that each tick lets go of whole numbers. The zero usage
// has used nothing.
type usage struct {
	at   loop.Tick // up to which used has leaked
	used [resourceCount]uint32
}

// leak lets go of what the time since the last call has made good.
func (u *usage) leak(now loop.Tick, of *allowance) {
	ago := uint64(now - u.at)
	u.at = now
	if ago == 0 {
		return
	}
	for i := range u.used {
		if rate := uint64(of[i].rate); rate > 0 {
			u.used[i] -= uint32(min(uint64(u.used[i]), ago*rate*10/uint64(loop.TicksPerSecond)))
		}
	}
}

// take uses n units of a resource, or reports false and uses nothing when that
// is more than is allowed.
func (u *usage) take(now loop.Tick, of *allowance, what resource, n int) bool {
	l := of[what]
	if l.rate == 0 {
		return true
	}
	u.leak(now, of)
	after := uint64(u.used[what]) + 10*uint64(n)
	if after > 10*uint64(l.burst) || after > math.MaxUint32 {
		return false
	}
	u.used[what] = uint32(after)
	return true
}

// none reports whether all that was used has been made good.
func (u *usage) none(now loop.Tick, of *allowance) bool {
	u.leak(now, of)
	return u.used == [resourceCount]uint32{}
}

// budgetNames are the labels of what is exceeded.
var budgetNames = [resourceCount]struct{ conn, user string }{
	useMessages: {"messages", "user_messages"},
	useBytes:    {"bytes", "user_bytes"},
	useInbox:    {"inbox", "inbox"},
	usePublish:  {"publish", "publish"},
}

// budgetCloses are what a connection is told that is closed for exceeding one.
// Whose user has used up its share may come again later: it may have been
// another of the user's devices.
var budgetCloses = map[string]struct {
	code   ws.CloseCode
	reason string
}{
	"messages":              {ws.ClosePolicyViolation, "too many messages"},
	"user_messages":         {ws.CloseTryAgainLater, "too many messages of this user"},
	"bytes":                 {ws.ClosePolicyViolation, "too many bytes"},
	"user_bytes":            {ws.CloseTryAgainLater, "too many bytes of this user"},
	string(loop.TLSRecords): {ws.ClosePolicyViolation, "too many TLS records"},
}
