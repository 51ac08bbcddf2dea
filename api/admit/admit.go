// Package admit bounds what is under way at a server: of one caller, and of
// all of them.
//
// A request has three stages, and each has a limit of its own. It is open from
// its header to its reply, at rest or not. It works while the server does
// something for it, which is not so while it sends its body, waits for receipts,
// or is a batch between two lines. And it holds memory, by the bytes of its body.
//
// Large requests are worked on a few at a time, by the bytes of their bodies: each
// keeps a CPU for long, and who has many under way would have the small ones of
// others wait for all of them.
package admit

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Limits bound one share. Every one must be above zero.
type Limits struct {
	Open   int   // requests under way, at rest or not
	Work   int   // of those, requests that are being worked on
	Memory int64 // bytes of their bodies
	Conns  int   // connections
	Large  int64 // bytes of the bodies of large requests that are worked on
}

// Limit names one of Limits, as labels of metrics do.
type Limit string

// The limits.
const (
	LimitOpen   Limit = "open"
	LimitWork   Limit = "in_flight"
	LimitMemory Limit = "memory"
	LimitLarge  Limit = "large"
)

// LimitError says which limit was reached.
type LimitError struct {
	Limit Limit
	Own   bool // it is the caller's own limit, not that of all
	Most  int64
}

func (r *LimitError) Error() string {
	whose := "all callers together"
	if r.Own {
		whose = "the caller"
	}
	return fmt.Sprintf("limit %s of %s: %d", r.Limit, whose, r.Most)
}

// Share is what one caller, or all of them together, may take up. It is safe
// for concurrent use.
type Share struct {
	limits  Limits
	open    quota
	working atomic.Int64
	memory  quota
	conns   quota
	work    *semaphore.Weighted // first come, first served
	large   *semaphore.Weighted // likewise
	unpaid  *rate.Limiter
}

// unpaidRate is how many answers per second a caller gets for nothing, such as
// refusals, without waiting.
const unpaidRate = 1000

// NewShare returns a share of which nothing is taken.
func NewShare(l Limits) *Share {
	s := &Share{
		limits: l,
		work:   semaphore.NewWeighted(int64(l.Work)), large: semaphore.NewWeighted(l.Large),
		unpaid: rate.NewLimiter(unpaidRate, unpaidRate),
	}
	s.open.most, s.memory.most, s.conns.most = int64(l.Open), l.Memory, int64(l.Conns)
	return s
}

// Limits are those that the share was made with.
func (s *Share) Limits() Limits { return s.limits }

// Open is how many requests are under way.
func (s *Share) Open() int64 { return s.open.used.Load() }

// Working is how many requests are being worked on.
func (s *Share) Working() int64 { return s.working.Load() }

// Memory is how many bytes of bodies are held.
func (s *Share) Memory() int64 { return s.memory.used.Load() }

// TakeConn counts a connection, or reports false when there are too many.
func (s *Share) TakeConn() bool { return s.conns.take(1) }

// GiveConn undoes one TakeConn.
func (s *Share) GiveConn() { s.conns.give(1) }

// Unpaid is how many answers the caller gets for nothing without waiting.
func (s *Share) Unpaid() *rate.Limiter { return s.unpaid }

// quota is an amount with a limit.
type quota struct {
	most int64
	used atomic.Int64
}

func (q *quota) take(n int64) bool {
	if q.used.Add(n) > q.most {
		q.used.Add(-n)
		return false
	}
	return true
}

func (q *quota) give(n int64) { q.used.Add(-n) }

// Pass is one request under way. It belongs to one goroutine.
type Pass struct {
	own, all *Share
	working  bool
	large    int64 // of Limits.Large
	left     bool
	held     int64
}

// Enter lets a request of the caller with the share own in. The error is a
// *LimitError. Leave must be called.
func Enter(own, all *Share) (*Pass, error) {
	if !own.open.take(1) {
		return nil, &LimitError{Limit: LimitOpen, Own: true, Most: own.open.most}
	}
	if !all.open.take(1) {
		own.open.give(1)
		return nil, &LimitError{Limit: LimitOpen, Most: all.open.most}
	}
	return &Pass{own: own, all: all}, nil
}

// Leave ends the request and gives back all that it has. Only the first call
// does something.
func (p *Pass) Leave() {
	if p.left {
		return
	}
	p.left = true
	p.Rest()
	p.Drop()
	p.all.open.give(1)
	p.own.open.give(1)
}

// Work has the request be worked on, unless it is already. It does not wait:
// the error is a *LimitError.
func (p *Pass) Work() error {
	if p.working {
		return nil
	}
	if !p.own.work.TryAcquire(1) {
		return &LimitError{Limit: LimitWork, Own: true, Most: int64(p.own.limits.Work)}
	}
	if !p.all.work.TryAcquire(1) {
		p.own.work.Release(1)
		return &LimitError{Limit: LimitWork, Most: int64(p.all.limits.Work)}
	}
	p.begin()
	return nil
}

// AwaitWork is Work that waits for its turn, until ctx ends; then the error is
// a *LimitError as well.
func (p *Pass) AwaitWork(ctx context.Context) error {
	if p.working {
		return nil
	}
	if p.own.work.Acquire(ctx, 1) != nil {
		return &LimitError{Limit: LimitWork, Own: true, Most: int64(p.own.limits.Work)}
	}
	if p.all.work.Acquire(ctx, 1) != nil {
		p.own.work.Release(1)
		return &LimitError{Limit: LimitWork, Most: int64(p.all.limits.Work)}
	}
	p.begin()
	return nil
}

func (p *Pass) begin() {
	p.working = true
	p.own.working.Add(1)
	p.all.working.Add(1)
}

// AwaitLarge waits until n bytes more of large requests may be worked on, until
// ctx ends; then the error is a *LimitError. n is at most the limit of either
// share. It comes before Work or AwaitWork, and holds until Rest. It reports
// whether the caller's own limit had it wait.
func (p *Pass) AwaitLarge(ctx context.Context, n int64) (waited bool, err error) {
	if p.large > 0 {
		return false, nil
	}
	waited = !p.own.large.TryAcquire(n)
	if waited && p.own.large.Acquire(ctx, n) != nil {
		return true, &LimitError{Limit: LimitLarge, Own: true, Most: p.own.limits.Large}
	}
	if p.all.large.Acquire(ctx, n) != nil {
		p.own.large.Release(n)
		return waited, &LimitError{Limit: LimitLarge, Most: p.all.limits.Large}
	}
	p.large = n
	return waited, nil
}

// Rest says that the request waits for something and is not worked on, if it
// was.
func (p *Pass) Rest() {
	if n := p.large; n > 0 {
		p.large = 0
		p.all.large.Release(n)
		p.own.large.Release(n)
	}
	if !p.working {
		return
	}
	p.working = false
	p.own.working.Add(-1)
	p.all.working.Add(-1)
	p.all.work.Release(1)
	p.own.work.Release(1)
}

// Hold counts n more bytes of memory. The error is a *LimitError.
func (p *Pass) Hold(n int64) error {
	if !p.own.memory.take(n) {
		return &LimitError{Limit: LimitMemory, Own: true, Most: p.own.memory.most}
	}
	if !p.all.memory.take(n) {
		p.own.memory.give(n)
		return &LimitError{Limit: LimitMemory, Most: p.all.memory.most}
	}
	p.held += n
	return nil
}

// Held is how many bytes the request holds.
func (p *Pass) Held() int64 { return p.held }

// Drop gives the memory back.
func (p *Pass) Drop() { p.DropTo(0) }

// DropTo gives the memory beyond n bytes back.
func (p *Pass) DropTo(n int64) {
	if p.held > n {
		p.all.memory.give(p.held - n)
		p.own.memory.give(p.held - n)
		p.held = n
	}
}
