package admit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// refusal fails unless err is that of the limit given, the caller's own or not.
func refusal(t *testing.T, err error, limit Limit, own bool) {
	t.Helper()
	var r *LimitError
	if !errors.As(err, &r) || r.Limit != limit || r.Own != own {
		t.Errorf("got %v, want %s, own %t", err, limit, own)
	}
}

func enter(t *testing.T, own, all *Share) *Pass {
	t.Helper()
	p, err := Enter(own, all)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLimits(t *testing.T) {
	all := NewShare(Limits{Open: 3, Work: 2, Memory: 100, Conns: 2})
	one, two := NewShare(Limits{Open: 2, Work: 1, Memory: 60, Conns: 1}), NewShare(Limits{Open: 9, Work: 9, Memory: 900, Conns: 9})
	a, b := enter(t, one, all), enter(t, one, all)
	_, err := Enter(one, all)
	refusal(t, err, LimitOpen, true)
	c := enter(t, two, all)
	_, err = Enter(two, all)
	refusal(t, err, LimitOpen, false)

	for range 2 { // the second time it works already
		if err := a.Work(); err != nil {
			t.Error(err)
		}
	}
	refusal(t, b.Work(), LimitWork, true)
	if err := c.Work(); err != nil {
		t.Error(err)
	}
	a.Rest()
	a.Rest()
	if err := b.Work(); err != nil {
		t.Error(err)
	}
	b.Leave()
	d := enter(t, two, all)
	if err := d.Work(); err != nil {
		t.Error(err)
	}
	refusal(t, a.Work(), LimitWork, false)

	if err := a.Hold(60); err != nil {
		t.Error(err)
	}
	refusal(t, a.Hold(1), LimitMemory, true)
	refusal(t, c.Hold(41), LimitMemory, false)
	if a.DropTo(50); a.Held() != 50 || one.Memory() != 50 {
		t.Errorf("held %d of %d", a.Held(), one.Memory())
	}
	if err := c.Hold(50); err != nil {
		t.Error(err)
	}
	for _, p := range []*Pass{a, c, d} {
		p.Leave()
	}
	for _, s := range []*Share{all, one, two} {
		if s.Open() != 0 || s.Working() != 0 || s.Memory() != 0 {
			t.Errorf("left: %d open, %d working, %d bytes", s.Open(), s.Working(), s.Memory())
		}
	}
	if !one.TakeConn() || one.TakeConn() {
		t.Error("want room for one connection")
	}
	one.GiveConn()
	if !one.TakeConn() {
		t.Error("want room again")
	}
}

// TestAwaitWork waits for its turn, or until its time is over, and a wait that
// failed leaves nothing taken.
func TestAwaitWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, own := NewShare(Limits{Open: 9, Work: 1}), NewShare(Limits{Open: 9, Work: 2})
		a, b := enter(t, own, all), enter(t, own, all)
		if err := a.AwaitWork(t.Context()); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		refusal(t, b.AwaitWork(short), LimitWork, false)
		done := make(chan error)
		go func() { done <- b.AwaitWork(t.Context()) }()
		synctest.Wait()
		a.Rest()
		if err := <-done; err != nil {
			t.Error(err)
		}
		other := enter(t, own, all)
		long, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		other.own = NewShare(Limits{Work: 1})
		other.own.work.TryAcquire(1)
		refusal(t, other.AwaitWork(long), LimitWork, true)
		if b.Rest(); own.Working() != 0 || all.Working() != 0 {
			t.Error("something is being worked on still")
		}
	})
}

// TestAwaitLarge: of large requests few are worked on, first those who came
// first, and a wait that failed leaves nothing taken.
func TestAwaitLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := NewShare(Limits{Open: 9, Work: 9, Large: 20})
		own, other := NewShare(Limits{Open: 9, Work: 9, Large: 10}), NewShare(Limits{Open: 9, Work: 9, Large: 20})
		take := func(p *Pass, waits bool) {
			t.Helper()
			if waited, err := p.AwaitLarge(t.Context(), 10); err != nil || waited != waits {
				t.Errorf("waited %t, %v", waited, err)
			}
		}
		a, b, c, d := enter(t, own, all), enter(t, own, all), enter(t, other, all), enter(t, other, all)
		take(a, false)
		take(a, false) // has its place already
		take(c, false)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := b.AwaitLarge(short, 1)
		refusal(t, err, LimitLarge, true)
		_, err = d.AwaitLarge(short, 1)
		refusal(t, err, LimitLarge, false)
		done := make(chan struct{})
		go func() { defer close(done); take(b, true) }()
		synctest.Wait()
		a.Rest()
		<-done
		b.Leave()
		c.Leave()
		take(a, false)
		take(d, false)
	})
}
