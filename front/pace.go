package front

import (
	"fmt"
	"math"
	"net/http"

	"github.com/homing/homing/front/ws"
)

// pace lets so many clients in per second and gives the others a time to come
// back, so that players who all come at once do not hold up those who are
// there. Owned by the loop.
type pace struct {
	perSecond float64 // +Inf: no limit
	credit    float64 // clients that may come in now: a second's worth at most
	shakes    float64 // TLS handshakes that may begin now: a tick's worth at most
	owed      float64 // clients that were told to come back, and whose time has not come
}

// kept is the part of the rate that is promised to those who are told to come
// back. The rest is for those who come first meanwhile, lest they take the
// places of the others.
const kept = 0.8

// newPace allows for rate clients per second; 0: no limit.
func newPace(rate int) pace {
	if rate == 0 {
		return pace{perSecond: math.Inf(1), credit: math.Inf(1), shakes: math.Inf(1)}
	}
	return pace{perSecond: float64(rate), credit: float64(rate), shakes: 1}
}

// refill adds a tick's share.
func (p *pace) refill() {
	tick := p.perSecond * tickLength.Seconds()
	p.shakes = min(p.shakes+tick, max(1, tick))
	p.credit = min(p.credit+p.perSecond*tickLength.Seconds(), p.perSecond)
	p.owed = max(0, p.owed-kept*p.perSecond*tickLength.Seconds())
}

// admit lets a client in, or refuses it with the time after which there will be
// room for it.
func (p *pace) admit() error {
	if p.credit >= 1 {
		p.credit--
		return nil
	}
	p.owed++
	return &ws.RequestError{
		Status: http.StatusServiceUnavailable, Code: "crowded",
		Detail: "More clients come than this server lets in at a time; come back after the time in Retry-After.",
		Header: fmt.Sprintf("Retry-After: %.0f", math.Ceil(p.owed/(kept*p.perSecond))),
	}
}

// handshake reports whether a TLS handshake may begin. They have the same rate
// as clients, and none of their share: who has not shown a token yet takes no
// place from those who have. No more begin at a time than a tick's worth.
func (p *pace) handshake() bool {
	if p.shakes < 1 {
		return false
	}
	p.shakes--
	return true
}
