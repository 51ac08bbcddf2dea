package loop

import "github.com/homing/homing/hub/drop"

// ReadCost is what each read of a socket costs at least, in bytes. Else a client
// could have us make a system call for every byte of its budget.
const ReadCost = 128

// Budget names what a client over TLS has used up.
type Budget string

// The budgets that the loop keeps.
const (
	TLSRecords Budget = "tls_records" // more records than its messages need
	TLSAnswers Budget = "tls_answers" // it asks TLS itself for answers, and does not read them
)

// Handler is the layer above a loop. It keeps an S in each connection. The
// loop's goroutine calls all of its methods; none of them may block, and each
// may call any method of the loop, End and Drop of the same connection included.
type Handler[S any] interface {
	// BeginTurn comes first in each turn, EndTurn last. A turn serves at most 64
	// sockets. What takes longer than some 10 ms goes on in the next turn, which
	// Wake has begin at once.
	BeginTurn()
	EndTurn()
	// Tick comes in the first turn of each tick, before Check and Expired.
	Tick()
	// Stopped reports whether the loop ends before the next turn.
	Stopped() bool

	// Charge is asked before n bytes that came from c's socket are looked at:
	// ciphertext, before it is decrypted. n is ReadCost at least. False says that
	// the client has sent too much, and the bytes are not looked at. Then the
	// handler has ended or dropped c; one that is Handshaking the loop drops.
	Charge(c *Conn[S], n int) bool
	// Received takes bytes that the client sent. They are only lent, and may be
	// overwritten. It is not called after End.
	Received(c *Conn[S], data []byte)
	// Exceeded says that the client is over a budget of the loop. c is dropped
	// unless the handler ends it; after TLSAnswers it is in any case, with HungUp.
	Exceeded(c *Conn[S], what Budget)
	// HungUp says that the client has ended its side (io.EOF), or that the
	// connection broke. c is dropped next.
	HungUp(c *Conn[S], err error)
	// Flushed says that all that waited in c's write queue has been written.
	Flushed(c *Conn[S])
	// Waits says that something waits for c, which is detached, to be taken with
	// TakeWaiting; not in this call.
	Waits(c *Conn[S])

	// Due returns the tick at which Check wants to see c; 0: never. It is asked
	// when something has happened to c, and by Arm.
	Due(c *Conn[S]) Tick
	// Check says that the tick that Due returned has come. After it Due is asked
	// again.
	Check(c *Conn[S])
	// Expired says that c's deadline has come: that of SetDeadline, or the one
	// that every connection begins with. It is not called of a connection that is
	// Handshaking or Ending, which the loop drops.
	Expired(c *Conn[S])

	// Ended is the last call about c, which is Gone. It comes for connections
	// that nothing else was called for, too.
	Ended(c *Conn[S], why drop.Reason)
	// Discarded says that the loop has given up messages.
	Discarded(why drop.Reason, lost Lost)
}
