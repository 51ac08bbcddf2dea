package relay

import (
	"time"

	"github.com/homing/homing/hub"
)

// Leases say who lives, but a process may lose its way to the Redis where they
// stand and live all the same. Then the relay is asked: whoever judges puts a
// question to the process, and the process answers, or says of itself that it
// is there. These packets go through every shard, are not numbered and not
// repeated; they come again each second for as long as they are needed.

// Holder is this process as one whose life others judge. No method may block.
type Holder interface {
	// Mark is the present moment on a clock of the holder's own.
	Mark() uint64
	// Seeking reports whether the holder cannot renew its lease, so that those
	// who send to it should hear that it lives.
	Seeking() bool
	// Granted takes what came of a sign of life with the mark given: others
	// take the process to live, or it was declared dead.
	Granted(mark uint64, dead bool)
}

// Judge is this process as one that judges the lives of others.
type Judge interface {
	// Here takes a sign of life of p. It must not block.
	Here(p hub.ProcessID, mark uint64)
}

const (
	// senderFresh is how long a process counts as one that sends to us.
	senderFresh = time.Minute
	// askAfter is how long a receiver may leave messages unconfirmed before a
	// judge asks whether it lives.
	askAfter = time.Second
	// askedAnew is after how long without a question the next begins a new
	// series: while there is doubt about a process it is asked each second.
	askedAnew = 3 * askAfter
)

// asked is what is known of the questions to one process.
type asked struct {
	open  time.Time // when the oldest was put that is unanswered; zero: none is
	nonce uint64    // of that one
	last  time.Time // when the latest was put
}

// HoldFor has h answer for this process. It is called before Run.
func (r *Relay) HoldFor(h Holder) { r.holder = h }

// JudgeFor has j told who lives. It is called before Run.
func (r *Relay) JudgeFor(j Judge) { r.judge = j }

// Ask asks p whether it lives. It does not block.
func (r *Relay) Ask(p hub.ProcessID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.askLocked(p, time.Now())
}

func (r *Relay) askLocked(p hub.ProcessID, now time.Time) {
	a := r.asked[p]
	if a == nil {
		a = &asked{}
		r.asked[p] = a
	}
	nonce := uint64(max(1, now.Sub(r.born).Microseconds()))
	if a.open.IsZero() || now.Sub(a.last) > askedAnew { // an answer may be lost, and then nobody asked any more
		a.open, a.nonce = now, nonce
	}
	a.last = now
	r.spread(p, &packet{kind: kindAsk, from: r.self, sent: now, nonce: nonce})
}

// Unanswered is since when p owes an answer, zero when it owes none.
func (r *Relay) Unanswered(p hub.ProcessID) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.asked[p]; a != nil {
		return a.open
	}
	return time.Time{}
}

// Forget ends the questions to p.
func (r *Relay) Forget(p hub.ProcessID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, p)
}

// Grant tells p what came of its sign of life. It does not block.
func (r *Relay) Grant(p hub.ProcessID, mark uint64, dead bool) {
	r.spread(p, &packet{kind: kindGrant, from: r.self, sent: time.Now(), mark: mark, dead: dead})
}

// Silence is how long no canary has come back through any shard.
func (r *Relay) Silence() time.Duration {
	now := time.Now()
	least := r.canaries.silence(0, now)
	for i := 1; i < len(r.lanes); i++ {
		least = min(least, r.canaries.silence(i, now))
	}
	return least
}

// spread sends pk through every shard.
func (r *Relay) spread(to hub.ProcessID, pk *packet) {
	payload := pk.append(nil)
	for _, l := range r.lanes {
		l.push(&item{channel: r.keys.Channel(to), payload: payload})
	}
}

// answer says that this process lives, to one who asked with a nonce or, with
// nonce 0, to one who did not ask.
func (r *Relay) answer(to hub.ProcessID, nonce uint64) {
	r.spread(to, &packet{kind: kindHere, from: r.self, sent: time.Now(), nonce: nonce, mark: r.holder.Mark()})
}

// seek tells everybody who sends to this process that it lives, if it cannot
// renew its lease.
func (r *Relay) seek(now time.Time) {
	if r.holder == nil || !r.holder.Seeking() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for from, in := range r.in {
		if now.Sub(in.seen) < senderFresh {
			r.answer(from, 0)
		}
	}
}

// receiveHere notes that a process lives.
func (r *Relay) receiveHere(pk *packet) {
	r.mu.Lock()
	if a := r.asked[pk.from]; a != nil && pk.nonce >= a.nonce {
		a.open = time.Time{}
	}
	r.mu.Unlock()
	if r.judge != nil {
		r.judge.Here(pk.from, pk.mark)
	}
}

// suspect asks a receiver that has confirmed nothing for a while, so that it is
// known to be silent by the time that its lease lapses.
func (r *Relay) suspect(to hub.ProcessID, p *pair, now time.Time) {
	if r.judge == nil || len(p.unacked) == 0 || now.Sub(p.heard) < askAfter || now.Sub(p.unacked[0].first) < askAfter {
		return
	}
	if a := r.asked[to]; a == nil || now.Sub(a.last) >= askAfter {
		r.askLocked(to, now)
	}
}
