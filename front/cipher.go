package front

import (
	"errors"

	"github.com/homing/homing/front/tlsconn"
)

// recordsPerMessage is how many TLS records a client may send for each message
// that it may send. It needs one or two for most, five for the longest: each
// costs us as much as a small message, and a key update, which comes in one, 20
// times that.
const recordsPerMessage = 5

// The budgets of a connection over TLS.
const (
	budgetRecords = "tls_records"
	budgetAnswers = "tls_answers" // what TLS itself answers and the client does not read
)

// cipher takes ciphertext that a client sent.
func (w *Worker) cipher(c *conn, data []byte) {
	t := c.tls()
	switch {
	case t.deaf:
	case !t.Open():
		w.shake(c, t, data)
	case !w.creditRecords(t, t.Take(data)):
		w.tooManyRecords(c, t)
	default:
		w.decrypt(c, t)
	}
}

// decrypt hands on the plaintext of what has come, record by record.
func (w *Worker) decrypt(c *conn, t *secure) {
	for c.state != stateGone {
		plain, err := t.Next()
		switch {
		case errors.Is(err, tlsconn.ErrNoInput):
			w.pend(c)
			return
		case errors.Is(err, tlsconn.ErrBacklog):
			w.m.overBudget.WithLabelValues(budgetAnswers).Inc()
			w.hungUp(c, err)
			return
		case err != nil:
			w.hungUp(c, err) // the alert that says why is written already
			return
		}
		w.received(c, plain)
	}
}

// creditRecords takes n of the records that a client may send now, and reports
// whether there were as many.
func (w *Worker) creditRecords(t *secure, n int) bool {
	rate := recordsPerMessage * uint64(w.cfg.MessageRate)
	if rate == 0 {
		return true
	}
	if gained := uint64(w.now-t.refilled) * rate / ticksPerSecond; gained > 0 {
		t.credit = uint32(min(uint64(t.credit)+gained, uint64(w.recordBurst())))
		t.refilled = w.now
	}
	if uint32(n) > t.credit {
		return false
	}
	t.credit -= uint32(n)
	return true
}

func (w *Worker) recordBurst() uint32 { return recordsPerMessage * uint32(w.cfg.MessageBurst) }

// tooManyRecords closes a connection that makes more work than its messages
// would. What it sends from now on is not looked at.
func (w *Worker) tooManyRecords(c *conn, t *secure) {
	t.deaf = true
	if c.state < stateRegister {
		w.m.overBudget.WithLabelValues(budgetRecords).Inc()
		w.drop(c, dropLost)
		return
	}
	w.overspent(c, budgetRecords)
}

// pend has the loop told when the ciphertext that waits for c's socket, if any
// does, can be written.
func (w *Worker) pend(c *conn) {
	if t := c.tls(); t != nil && t.Pending() && !t.hungUp && c.state != stateGone {
		w.outbox(c)
		w.await(c)
	}
}

// flushCipher writes the ciphertext that waits for c's socket, and reports
// whether c can be written to.
func (w *Worker) flushCipher(c *conn) bool {
	t := c.tls()
	if t == nil {
		return true
	}
	n, err := t.Flush()
	if n > 0 {
		c.out.progress = w.now
	}
	switch {
	case err != nil:
		w.drop(c, dropLost)
		return false
	case t.Pending():
		w.await(c)
		return false
	}
	return true
}
