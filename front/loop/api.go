package loop

// This file is the contract between the two halves of the front. It goes away
// when each declaration stands where it belongs.

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/front/epoll"
	"github.com/homing/homing/front/tickets"
	"github.com/homing/homing/hub/drop"
)

// Tick is the loop's coarse clock: tenths of a second since the loop was made;
// the first is 1. The zero Tick means never, or not at all.
type Tick uint32

// TickLength is the grain of the coarse clock, and so of Deadline and Due.
const TickLength = 100 * time.Millisecond

// Ticks rounds d up to whole ticks.
func Ticks(d time.Duration) Tick { return Tick((d + TickLength - 1) / TickLength) }

// Class says what becomes of a message that finds no room in the write queue.
type Class uint8

// The classes.
const (
	Control   Class = iota // of the protocol itself: it always fits and is never given up; a newer one with its key takes its place
	Must                   // Send says Full
	Latest                 // takes the place of an older one with its key; else Send says Full
	Droppable              // is given up, the oldest first
	Classes                // how many there are
)

// Message is bytes on their way to connections. They are shared by all
// connections that they go to, and nobody changes them after Send.
type Message struct {
	Data  []byte
	Key   []byte // what Latest, and Control, replace by; empty: by nothing
	Class Class
}

// Status is what became of a message given to Send.
type Status uint8

// The statuses.
const (
	Gone    Status = iota // the connection has ended, perhaps by this very Send
	Dropped               // a Droppable message found no room
	Full                  // no room for a Must or Latest message, which is not in the queue; whoever sent it ends the connection
	Queued                // it waits in the write queue
	Written               // the kernel, or TLS, has taken it
)

// Lost counts messages that were given up, by class; Control is not counted.
type Lost [Classes]int

// Handler is the layer above a loop. It keeps an S in each connection. All its
// methods are called by the loop's goroutine, none of them may block, and each
// may call the loop's methods, End and Drop of the same connection included.
type Handler[S any] interface {
	// BeginTurn comes first in each turn, EndTurn last. A turn serves at most 64
	// sockets; what takes longer than some 10 ms goes on in the next turn, which
	// Loop.Again has begin at once.
	BeginTurn()
	EndTurn()
	// Tick comes once for each tick that the loop notices, before the
	// connections that are due.
	Tick()
	// Stopped reports whether the loop ends after this turn.
	Stopped() bool

	// Charge is asked before n bytes that came from c's socket are looked at,
	// ciphertext before it is decrypted; n is 128 at least, what a read costs.
	// False says that the client sends too much: the bytes are not looked at.
	// Then the handler has ended c, or dropped it; while Handshaking, it has
	// done nothing, and the loop ends c.
	Charge(c *Conn[S], n int) bool
	// Received takes bytes that the client sent, decrypted. They are only lent,
	// and may be overwritten.
	Received(c *Conn[S], data []byte)
	// HungUp says that the client has ended its side, or that the connection
	// broke (err, else io.EOF): c is dropped next.
	HungUp(c *Conn[S], err error)
	// Flushed says that all that waited in c's write queue has been written.
	Flushed(c *Conn[S])
	// Due returns the tick at which Check wants to see c, 0 for never. It is
	// asked after each change of c that the loop knows of, and by Loop.Arm.
	Due(c *Conn[S]) Tick
	// Check says that the tick has come that Due returned.
	Check(c *Conn[S])
	// Expired says that the deadline which SetDeadline set has come, or the one
	// that every connection begins with. It comes neither before the TLS
	// handshake is over nor after End.
	Expired(c *Conn[S])
	// Stalled says that c took nothing of what waits for it for the write
	// timeout: c is dropped next.
	Stalled(c *Conn[S])
	// Ended is the last call about c, for every c that Received, Charge or
	// Expired was called for and some that they were not. c.Addr is still known.
	// What waited in the write queue has been counted.
	Ended(c *Conn[S], why drop.Reason)
	// Discarded says that the loop gave up messages of c, by why.
	Discarded(why drop.Reason, n Lost)
}

// Config is what a Loop is told. Zero durations and counts are not usable
// unless it says so; the layer above checks them.
type Config struct {
	HandshakeTimeout time.Duration // from accept until SetDeadline says otherwise
	WriteTimeout     time.Duration // without progress while something waits
	CloseTimeout     time.Duration // from the last byte of End until the socket is closed without the peer's end

	HandshakeLimit int // bytes of a request's head; a TLS handshake may take twice as many
	MaxDescriptors int // 0: the process's limit
	Backlog        int
	QueueBytes     int // of messages that may wait for one connection, Control aside
	QueueMessages  int

	Arrivals Arrivals
	TLS      TLS
	Limiter  Handshakes // nil: TLS handshakes begin at any rate
}

// Arrivals bounds the connections that have not been taken in, and those of one
// address. See the options of the same names.
type Arrivals struct {
	Pending, AddressPrefix, AddressRate, AddressBurst, AddressPending, AddressConnections int

	TrustedProxies                  []string
	ProxyProtocol, TLSProxyProtocol bool
}

// TLS is what listeners with TLS need.
type TLS struct {
	Cert, Key  string // files
	Handshakes int    // under way at the same time
	// RecordRate and RecordBurst bound the TLS records of one client per second
	// and at once; 0: no limit.
	RecordRate, RecordBurst int
	// NeedCertificate has New fail without a certificate that can be used. Else
	// the loop serves without its TLS listeners until there is one.
	NeedCertificate bool
}

// Handshakes says how many TLS handshakes may begin.
type Handshakes interface{ Handshake() bool }

// Listener is a listening socket.
type Listener struct {
	FD  int  // non-blocking
	TLS bool // connections start with a TLS handshake
	// Shared says that somebody else, a master or another worker, holds the same
	// socket: Leave then leaves the queue to them.
	Shared bool
}

// Loop is one event loop over the connections of one goroutine.
type Loop[S any] struct{ h Handler[S] }

// Conn is one connection. The loop's goroutine owns it. State is the layer
// above's. An idle one is this struct and its place in the loop's table.
type Conn[S any] struct {
	State S
}

// New prepares a loop on listeners, which it owns from now on, even when it
// fails. The caller sets the handler with Run.
func New[S any](cfg Config, listeners []Listener, log *slog.Logger, reg prometheus.Registerer) (*Loop[S], error) {
	panic("todo")
}

// Any goroutine may call these; none of them blocks.

// Post has f called by the loop in one of its next turns. It reports false when
// f will not be called: the loop has ended, or maxPosts wait already.
func (l *Loop[S]) Post(f func()) bool { panic("todo") }

// Wake has the loop begin another turn.
func (l *Loop[S]) Wake() { panic("todo") }

// Adopt hands over an accepted, non-blocking socket, as if it had come to a
// listener; one that the loop cannot take is closed.
func (l *Loop[S]) Adopt(fd int, overTLS bool) { panic("todo") }

// Mute and Listen are called for Worker.Mute and Worker.Listen.
func (l *Loop[S]) Mute()   { panic("todo") }
func (l *Loop[S]) Listen() { panic("todo") }

// SetTicketKeys has TLS sessions sealed and resumed with k from now on.
func (l *Loop[S]) SetTicketKeys(k tickets.Keys) { panic("todo") }

// TLSClosed says why the TLS listeners are closed for want of a certificate.
func (l *Loop[S]) TLSClosed() error { panic("todo") }

// Addresses are the listeners' addresses, in their order. Only before Run.
func (l *Loop[S]) Addresses() []netip.AddrPort { panic("todo") }

// Run serves until h.Stopped, or until the poller fails. Then it calls what was
// posted, drops every connection, closes the listeners, waits for what it
// started and returns.
func (l *Loop[S]) Run(h Handler[S]) error { panic("todo") }

// The rest is for the handler: only the loop's goroutine may call it.

// Now is the present tick, Clock the moment at which the present turn began.
func (l *Loop[S]) Now() Tick        { panic("todo") }
func (l *Loop[S]) Clock() time.Time { panic("todo") }

// Again has the next turn begin at once.
func (l *Loop[S]) Again() { panic("todo") }

// A Timer calls a function once.
type Timer struct{}

// AfterFunc has f called by the loop after d, exact to about a millisecond and
// the length of a turn. Timers cost a loop without any nothing.
func (l *Loop[S]) AfterFunc(d time.Duration, f func()) *Timer { panic("todo") }

// Stop prevents the call. It may be called again, and after the call.
func (t *Timer) Stop() { panic("todo") }

// Len is how many connections there are, in whatever state.
func (l *Loop[S]) Len() int { panic("todo") }

// Places is one more than the largest place that is in use; At returns the
// connection at a place, nil when there is none. Who is there throughout keeps
// its place.
func (l *Loop[S]) Places() int          { panic("todo") }
func (l *Loop[S]) At(place int) *Conn[S] { panic("todo") }

// LeaveListeners stops accepting for good.
func (l *Loop[S]) LeaveListeners() { panic("todo") }

// Withhold has nothing be written any more to connections that have not been
// given to End.
func (l *Loop[S]) Withhold() { panic("todo") }

// Identify notes that c, which is not taken in yet, comes from addr, as a
// trusted proxy says. It reports false when that address may open no connection
// now. Client returns the address that X-Forwarded-For headers give c, which is
// c's own when its peer is no trusted proxy.
func (l *Loop[S]) Identify(c *Conn[S], addr netip.Addr) bool             { panic("todo") }
func (l *Loop[S]) Client(c *Conn[S], forwardedFor []string) netip.Addr { panic("todo") }

// AddressFull reports whether as many connections of c's address have been
// taken in as may be; that is counted and logged.
func (l *Loop[S]) AddressFull(c *Conn[S]) bool { panic("todo") }

// TakeIn ends that c is pending: it has shown a valid token, and nobody refuses
// it. c's deadline is cleared.
func (l *Loop[S]) TakeIn(c *Conn[S]) { panic("todo") }

// SetDeadline has Expired be called at the tick; 0: never.
func (l *Loop[S]) SetDeadline(c *Conn[S], at Tick) { panic("todo") }

// Arm has Due be asked again, because something that it looks at has changed.
func (l *Loop[S]) Arm(c *Conn[S]) { panic("todo") }

// Send writes m at once when nothing waits; what the kernel does not take waits
// in the write queue, by the policy of m's class. It may end c.
func (l *Loop[S]) Send(c *Conn[S], m *Message) Status { panic("todo") }

// Cork has messages wait in the write queue, within its bounds, until Uncork,
// which sends first before them.
func (l *Loop[S]) Cork(c *Conn[S])                    { panic("todo") }
func (l *Loop[S]) Uncork(c *Conn[S], first *Message) { panic("todo") }

// Abandon gives up what waits, but for a message that has begun.
func (l *Loop[S]) Abandon(c *Conn[S], why drop.Reason) { panic("todo") }

// End makes last the last that c is sent, after what waits; then the loop ends
// our side, and drops c when the peer has ended its own, or after the close
// timeout. What the client sends from now on is charged and not looked at. A
// corked connection gives up what waits. soon has the close timeout begin at
// once, also when the peer takes nothing.
func (l *Loop[S]) End(c *Conn[S], last []byte, soon bool) { panic("todo") }

// Drop ends c at once. What waits is given up for why.
func (l *Loop[S]) Drop(c *Conn[S], why drop.Reason) { panic("todo") }

// Conn's own.

// Addr is the client's address, as far as it is known: of a connection that has
// not been taken in, or while addresses are counted. Else the zero Addr.
func (c *Conn[S]) Addr() netip.Addr { panic("todo") }

// Place is where c stands; Serial tells it from all others of this loop.
func (c *Conn[S]) Place() int     { panic("todo") }
func (c *Conn[S]) Serial() uint32 { panic("todo") }

// Heard is the tick at which bytes came last.
func (c *Conn[S]) Heard() Tick { panic("todo") }

// Handshaking reports whether bytes of a PROXY header or a TLS handshake are
// due. Ending reports whether c was given to End; Gone, whether it is no more.
func (c *Conn[S]) Handshaking() bool { panic("todo") }
func (c *Conn[S]) Ending() bool      { panic("todo") }
func (c *Conn[S]) Gone() bool        { panic("todo") }

// Waiting reports whether something waits in the write queue; Progress is the
// tick at which the kernel last took some of it.
func (c *Conn[S]) Waiting() bool  { panic("todo") }
func (c *Conn[S]) Progress() Tick { panic("todo") }

var _ epoll.Token
