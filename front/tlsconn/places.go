package tlsconn

import "sync/atomic"

// Places bounds how many handshakes compute at the same time. Safe for
// concurrent use.
type Places struct {
	held   chan struct{}
	wanted atomic.Int32
}

// NewPlaces makes n places.
func NewPlaces(n int) *Places { return &Places{held: make(chan struct{}, n)} }

// Wanted is how many hold a place or wait for one.
func (p *Places) Wanted() int { return int(p.wanted.Load()) }

// want says that take follows soon.
func (p *Places) want() { p.wanted.Add(1) }

func (p *Places) take() { p.held <- struct{}{} }

func (p *Places) leave() {
	<-p.held
	p.wanted.Add(-1)
}
