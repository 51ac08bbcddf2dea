// Package admission limits how many clients a worker lets in per second, so
// that players who all come at once do not hold up those who are there.
package admission

import (
	"math"
	"math/rand/v2"
)

const (
	// kept is the part of the rate that is promised to those who are told to come
	// back. The rest is for those who come first meanwhile, lest they take the
	// places of the others.
	kept = 0.8
	// MaxRetry is the longest time in seconds after which a client is told to come
	// back. When there is room only later, it is told so again.
	MaxRetry = 30
	// checksPerClient is how many tokens are checked for each client that may come
	// in, so that clients without a valid token do not count among those who are owed.
	checksPerClient = 4
)

// Limiter lets a number of clients in per second and gives the others a time to
// come back. Only clients with a valid token count: the others would use up what
// is for those. One goroutine owns it.
type Limiter struct {
	perSecond  float64 // +Inf: no limit
	refill     float64 // seconds between two calls of Refill
	credit     float64 // clients that may come in now: a second's worth at most
	handshakes float64 // TLS handshakes that may begin now: one refill's worth at most
	owed       float64 // clients that were told to come back, and whose time has not come: MaxRetry's worth at most
	checks     float64 // tokens that may be checked though nobody comes in now: a second's worth at most
}

// New returns a Limiter of rate clients per second; 0: no limit. Refill is
// called once in each period of refill seconds.
func New(rate int, refill float64) *Limiter {
	if rate == 0 {
		inf := math.Inf(1)
		return &Limiter{perSecond: inf, refill: refill, credit: inf, handshakes: inf}
	}
	perSecond := float64(rate)
	return &Limiter{perSecond: perSecond, refill: refill, handshakes: 1, credit: perSecond, checks: checksPerClient * perSecond}
}

// Refill adds one period's share.
func (l *Limiter) Refill() {
	share := l.perSecond * l.refill
	l.handshakes = min(l.handshakes+share, max(1, share))
	l.credit = min(l.credit+share, l.perSecond)
	l.checks = min(l.checks+checksPerClient*share, checksPerClient*l.perSecond)
	l.owed = max(0, l.owed-kept*share)
}

// Check reports whether a client's token is worth checking: there is room for
// the client, or it can be given a time to come back that counts. Otherwise the
// client is refused unseen, is told to come back after so many seconds, and is
// owed nothing.
func (l *Limiter) Check() (after int, ok bool) {
	if l.credit >= 1 {
		return 0, true
	}
	if l.checks >= 1 {
		l.checks--
		return 0, true
	}
	return l.retryAfter(), false
}

// Admit lets a client with a valid token in, or refuses it and returns after how
// many seconds there will be room for it.
func (l *Limiter) Admit() (after int, ok bool) {
	if l.credit >= 1 {
		l.credit--
		return 0, true
	}
	l.owed = min(l.owed+1, MaxRetry*kept*l.perSecond)
	return l.retryAfter(), false
}

// retryAfter is when there will be room. Clients that find none within MaxRetry
// are spread over the second half of it.
func (l *Limiter) retryAfter() int {
	after := math.Ceil(max(1, l.owed) / (kept * l.perSecond))
	if after >= MaxRetry {
		return MaxRetry/2 + rand.IntN(MaxRetry/2+1)
	}
	return int(after)
}

// Handshake reports whether a TLS handshake may begin. Handshakes have the same
// rate as clients, and none of their share: who has not shown a token yet takes
// no place from those who have. No more than one refill's worth begin at a time.
func (l *Limiter) Handshake() bool {
	if l.handshakes < 1 {
		return false
	}
	l.handshakes--
	return true
}
