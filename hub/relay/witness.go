package relay

import (
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// Leases say who lives, but a process may lose its way to the Redis where they
// stand and live all the same. Then the relay is asked: the judge puts a
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

// Witness asks other processes whether they live, and answers for this one. It
// is safe for concurrent use. Its methods do not block.
type Witness struct {
	network *network
	holder  Holder // nil: nobody judges this process
	judge   Judge  // nil: this process judges nobody
	born    time.Time

	mu    sync.Mutex // taken before a lane's
	asked map[hub.ProcessID]*asked
}

func newWitness(n *network) *Witness {
	return &Witness{network: n, born: time.Now(), asked: make(map[hub.ProcessID]*asked)}
}

// Ask asks p whether it lives.
func (w *Witness) Ask(p hub.ProcessID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.askLocked(p, time.Now())
}

func (w *Witness) askLocked(p hub.ProcessID, now time.Time) {
	a := w.asked[p]
	if a == nil {
		a = &asked{}
		w.asked[p] = a
	}
	nonce := uint64(max(1, now.Sub(w.born).Microseconds()))
	if a.open.IsZero() || now.Sub(a.last) > askedAnew { // an answer may be lost, and then nobody asked any more
		a.open, a.nonce = now, nonce
	}
	a.last = now
	w.network.spread(p, &packet{kind: kindAsk, from: w.network.self, sent: now, nonce: nonce})
}

// suspect is Ask, at most once in askAfter.
func (w *Witness) suspect(p hub.ProcessID, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.asked[p]; a == nil || now.Sub(a.last) >= askAfter {
		w.askLocked(p, now)
	}
}

// Unanswered is since when p owes an answer, zero when it owes none.
func (w *Witness) Unanswered(p hub.ProcessID) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.asked[p]; a != nil {
		return a.open
	}
	return time.Time{}
}

// Forget ends the questions to p.
func (w *Witness) Forget(p hub.ProcessID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asked, p)
}

// Grant tells p what came of its sign of life.
func (w *Witness) Grant(p hub.ProcessID, mark uint64, dead bool) {
	w.network.spread(p, &packet{kind: kindGrant, from: w.network.self, sent: time.Now(), mark: mark, dead: dead})
}

// seeking reports whether this process cannot renew its lease.
func (w *Witness) seeking() bool { return w.holder != nil && w.holder.Seeking() }

// answer says that this process lives, to one who asked with a nonce or, with
// nonce 0, to one who did not ask.
func (w *Witness) answer(to hub.ProcessID, nonce uint64) {
	w.network.spread(to, &packet{kind: kindHere, from: w.network.self, sent: time.Now(), nonce: nonce, mark: w.holder.Mark()})
}

// receive takes a question, an answer, or what came of one.
func (w *Witness) receive(pk *packet) {
	switch {
	case pk.kind == kindHere:
		w.here(pk)
	case w.holder == nil: // nobody judges this process
	case pk.kind == kindAsk:
		w.answer(pk.from, pk.nonce)
	case pk.kind == kindGrant:
		w.holder.Granted(pk.mark, pk.dead)
	}
}

// here notes that a process lives.
func (w *Witness) here(pk *packet) {
	w.mu.Lock()
	if a := w.asked[pk.from]; a != nil && pk.nonce >= a.nonce {
		a.open = time.Time{}
	}
	w.mu.Unlock()
	if w.judge != nil {
		w.judge.Here(pk.from, pk.mark)
	}
}
