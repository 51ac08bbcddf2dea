// Package ledger compares what callers were promised with what clients read.
// Callers enter every notification with the answer they got, clients every
// connection with all that arrived on it; Settle then finds each message that
// is missing, there twice, out of order, or where it should not be, each one
// that was stored and not found again, and each answer that was not true. It
// trusts nothing that the system under test says about itself.
package ledger

import (
	"sync"
	"time"

	"github.com/homing/homing/hub"
)

// Outcome is what a caller knows about its notification.
type Outcome uint8

const (
	// Unknown means that no answer came: it may arrive or not.
	Unknown Outcome = iota
	// Accepted means 200: it must arrive exactly once.
	Accepted
	// Refused means another answer: it may arrive or not, because a part of
	// it may have been sent, but not twice.
	Refused
)

// Key names a notification: the n-th of a sender. A sender sends one after
// another, so its notifications must arrive in the order of N.
type Key struct{ Sender, N int }

// Message is one notification. It is complete when it is entered.
type Message struct {
	Key

	API       int // which API server answered, for the gaps and the order
	Users     []hub.UserID
	Everybody bool        // instead of Users: a broadcast, for everybody who is connected
	Service   hub.Service // only connections of this service; empty: all
	Due       time.Time   // when the schedule wanted it sent
	Answered  time.Time   // when the caller knew the outcome
	Outcome   Outcome

	Stored bool   // it asked to be kept for those who are away
	Tries  int    // how often it was sent, under one id; sent more than once, it may arrive more than once
	Roamed bool   // a try may have gone through another API server than API: it has no order
	Reply  *Reply // what the answer said of the targets; nil: nothing
}

// Receipt is one arrival.
type Receipt struct {
	Key

	At       time.Time
	Replayed bool // it came as a part of the answer to resume
}

// Conn is one connection. The client that owns it appends to Receipts and
// nobody reads them before Settle.
type Conn struct {
	User     hub.UserID
	Service  hub.Service
	Dialed   time.Time // when its client began to connect; zero: as Opened
	Opened   time.Time // hello was read
	Roams    bool      // other processes than its holder may carry it, and end it when they do
	Receipts []Receipt

	book   *Book
	end    End // guarded by book.mu
	holder int // guarded by book.mu; the worker that held it; 0: not known
}

// End is how a connection ended, as its client knows.
type End struct {
	At     time.Time // zero: it has not
	Silent time.Time // when the client stopped reading; zero: it read to the end
	Code   int       // the close code; 0: none came
	Told   bool      // a message before it asked to reconnect
	Left   bool      // the client itself ended it
}

// Book collects entries from all callers and clients. Its methods are safe for
// concurrent use. The zero value is ready.
type Book struct {
	mu       sync.Mutex
	messages []*Message
	conns    []*Conn
	devices  []*Device
	attempts map[hub.UserID][]attempt
}

// attempt is a connect of which the client never read the hello. The system may
// have taken the user to be connected all the same.
type attempt struct{ from, to time.Time }

// Enter records a notification and its answer.
func (b *Book) Enter(m *Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
}

// Open records a connection that has just had its hello.
func (b *Book) Open(user hub.UserID, service hub.Service) *Conn {
	c := &Conn{User: user, Service: service, Opened: time.Now(), book: b}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, c)
	return c
}

// Attempt records a connect that has just failed, which began at the time
// given.
func (b *Book) Attempt(user hub.UserID, from time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attempts == nil {
		b.attempts = make(map[hub.UserID][]attempt)
	}
	b.attempts[user] = append(b.attempts[user], attempt{from, time.Now()})
}

// Close records how the connection ended.
func (c *Conn) Close(e End) {
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	c.end = e
}

// HeldBy records the process that holds the connection.
func (c *Conn) HeldBy(pid int) {
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	c.holder = pid
}

// Holder returns the process that holds or held the connection; 0: not known.
func (c *Conn) Holder() int {
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	return c.holder
}

// Closed counts the connections that ended at or after since, by holder. Those
// that their clients ended are left out, those that roam, and those that nobody knows
// the holder of.
func (b *Book) Closed(since time.Time) map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[int]int)
	for _, c := range b.conns {
		if e := c.end; c.holder != 0 && !c.Roams && !e.At.IsZero() && !e.Left && !e.At.Before(since) {
			n[c.holder]++
		}
	}
	return n
}
