package front

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"

	"github.com/homing/homing/front/ws"
)

// pace lets so many clients in per second and gives the others a time to come
// back, so that players who all come at once do not hold up those who are
// there. Only clients with a valid token count: the others would use up what is
// for those. Owned by the loop.
type pace struct {
	perSecond float64 // +Inf: no limit
	credit    float64 // clients that may come in now: a second's worth at most
	owed      float64 // clients that were told to come back, and whose time has not come: maxRetry's worth at most
	checks    float64 // tokens that may be checked though nobody comes in now: a second's worth at most
}

const (
	// kept is the part of the rate that is promised to those who are told to come
	// back. The rest is for those who come first meanwhile, lest they take the
	// places of the others.
	kept = 0.8
	// maxRetry is the longest time in seconds after which a client is told to come
	// back. When there is room only later, it is told so again.
	maxRetry = 30
	// checksPerClient is how many tokens are checked for each client that may come
	// in, so that those who have none do not count among those who are owed.
	checksPerClient = 4
)

// newPace allows for rate clients per second; 0: no limit.
func newPace(rate int) pace {
	if rate == 0 {
		return pace{perSecond: math.Inf(1), credit: math.Inf(1)}
	}
	return pace{perSecond: float64(rate), credit: float64(rate), checks: checksPerClient * float64(rate)}
}

// refill adds a tick's share.
func (p *pace) refill() {
	share := p.perSecond * tickLength.Seconds()
	p.credit = min(p.credit+share, p.perSecond)
	p.checks = min(p.checks+checksPerClient*share, checksPerClient*p.perSecond)
	p.owed = max(0, p.owed-kept*share)
}

// check returns nil when a client's token is worth checking: there is room for
// the client, or it can be given a time to come back that counts. Otherwise it
// refuses the client unseen, which owes it nothing.
func (p *pace) check() error {
	if p.credit >= 1 {
		return nil
	}
	if p.checks >= 1 {
		p.checks--
		return nil
	}
	return p.crowded()
}

// admit lets a client with a valid token in, or refuses it with the time after
// which there will be room for it.
func (p *pace) admit() error {
	if p.credit >= 1 {
		p.credit--
		return nil
	}
	p.owed = min(p.owed+1, maxRetry*kept*p.perSecond)
	return p.crowded()
}

// crowded refuses a client. Those for whom there will be no room within
// maxRetry are spread over the second half of it.
func (p *pace) crowded() error {
	after := math.Ceil(max(1, p.owed) / (kept * p.perSecond))
	if after >= maxRetry {
		after = maxRetry/2 + float64(rand.IntN(maxRetry/2+1))
	}
	return &ws.RequestError{
		Status: http.StatusServiceUnavailable, Code: "crowded",
		Detail: "More clients come than this server lets in at a time; come back after the time in Retry-After.",
		Header: fmt.Sprintf("Retry-After: %.0f", after),
	}
}
