// Package ledger compares what callers were promised with what clients read.
// Callers enter every notification with the answer they got, clients every
// connection with all that arrived on it; Settle then finds each message that
// is missing, there twice, out of order, or where it should not be. It trusts
// nothing that the system under test says about itself.
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
	API      int // which API server was called, for the gaps
	Users    []hub.UserID
	Service  hub.Service // only connections of this service; empty: all
	Due      time.Time   // when the schedule wanted it sent
	Answered time.Time   // when the caller knew the outcome
	Outcome  Outcome
}

// Receipt is one arrival.
type Receipt struct {
	Key
	At time.Time
}

// Conn is one connection. The client that owns it appends to Receipts and
// nobody reads them before Settle.
type Conn struct {
	User     hub.UserID
	Service  hub.Service
	Opened   time.Time // hello was read
	Receipts []Receipt

	book   *Book
	closed time.Time // guarded by book.mu; zero: still open
	holder int       // guarded by book.mu; the worker that held it; 0: not known
}

// Book collects entries from all callers and clients. Its methods are safe for
// concurrent use. The zero value is ready.
type Book struct {
	mu       sync.Mutex
	messages []*Message
	conns    []*Conn
}

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

// Close records that the connection has ended.
func (c *Conn) Close() { c.CloseAt(time.Now()) }

// CloseAt records that the connection has ended, as far as anything was due on
// it, at a time of the past: when its client stopped reading and was closed for
// that, say.
func (c *Conn) CloseAt(t time.Time) {
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	c.closed = t
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

// Closed counts the connections that ended at or after since, by holder.
func (b *Book) Closed(since time.Time) map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[int]int)
	for _, c := range b.conns {
		if !c.closed.IsZero() && !c.closed.Before(since) {
			n[c.holder]++
		}
	}
	return n
}
