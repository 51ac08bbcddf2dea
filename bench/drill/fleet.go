package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/ledger"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// services that devices connect from; "" is a token that names none.
var services = []hub.Service{"", "chess", "poker"}

// fleet is all clients of a drill: users with one to three devices each, every
// device connected for as long as it can be; and guests.
type fleet struct {
	book    *ledger.Book
	at      *entrance
	devices []*device
	guests  *guests

	dialing  chan struct{} // bounds the dials under way
	running  sync.WaitGroup
	open     atomic.Int64 // connections of devices now
	failed   atomic.Int64 // dials that failed
	turned   atomic.Int64 // dials that a node refused because it drains
	received atomic.Int64 // notifications
	replayed atomic.Int64 // of those, as the answer to resume

	mu      sync.Mutex
	lastErr error                  // why a dial failed last
	conns   map[*ledger.Conn]place // open connections
	held    map[hub.UserID]chan struct{}
	stalled chan struct{} // until it is closed slow devices do not read; nil: they do
	ends    []ending
	tells   []time.Time // when devices were told to reconnect
}

// place is whose an open connection is, and the client's address of it.
type place struct {
	device *device
	addr   string
}

// ending is how a connection ended that we did not end.
type ending struct {
	device *device
	at     time.Time
	err    error
	told   bool // to reconnect
	roams  bool // see ledger.Conn
}

// device is one client of a user.
type device struct {
	number  int // among its kind
	user    hub.UserID
	service hub.Service
	slow    bool // takes part when clients stop reading
	guest   bool // comes and goes

	*follower // owned by whoever listens

	dialed time.Time   // last; owned by whoever listens, as is began
	began  int         // connections so far
	left   atomic.Bool // it ended its connection itself
	back   atomic.Bool // it was called back, and has caught up
}

// dialsUnderWay keeps the start from being a storm; storms are a drill of
// their own.
const dialsUnderWay = 64

// newFleet makes conns devices: of every ten users six have one device, three
// two, and one three.
func newFleet(book *ledger.Book, at *entrance, conns int) *fleet {
	f := &fleet{
		book: book, at: at,
		dialing: make(chan struct{}, dialsUnderWay),
		conns:   make(map[*ledger.Conn]place),
		held:    make(map[hub.UserID]chan struct{}),
	}
	for u := 0; len(f.devices) < conns; u++ {
		devices := 1
		switch {
		case u%10 == 9:
			devices = 3
		case u%10 >= 6:
			devices = 2
		}
		for d := range devices {
			f.devices = append(f.devices, &device{
				number:  len(f.devices),
				user:    hub.UserID(fmt.Sprintf("player%d", u)),
				service: services[(u+d)%len(services)],
				slow:    len(f.devices)%slowShare == 0,
			})
		}
		for _, d := range f.devices[len(f.devices)-devices:] {
			// What one device acknowledges, the user's others are not replayed.
			d.follower = newFollower(book, d, devices == 1)
		}
	}
	f.guests = newGuests(f)
	return f
}

// users returns every user once, without the guests.
func (f *fleet) users() []hub.UserID {
	var users []hub.UserID
	for _, d := range f.devices {
		if len(users) == 0 || users[len(users)-1] != d.user {
			users = append(users, d.user)
		}
	}
	return users
}

// start connects all devices and keeps them connected until ctx ends; wait
// then waits for them.
func (f *fleet) start(ctx context.Context) {
	for _, d := range f.devices {
		f.running.Go(func() { f.keep(ctx, d) })
	}
	for _, d := range f.guests.devices {
		f.running.Go(func() { f.comeAndGo(ctx, d) })
	}
}

func (f *fleet) wait() { f.running.Wait() }

// keep is one device's life.
func (f *fleet) keep(ctx context.Context, d *device) {
	var backoff client.Backoff
	to := "" // where the server has sent the device, once
	for f.mayConnect(ctx, d.user) {
		conn, err := f.dial(ctx, d, to)
		to = ""
		var hint *client.Reconnect
		if err == nil {
			backoff.Reset()
			hint, err = f.listen(ctx, d, conn)
		}
		if hint != nil {
			to = hint.To
		}
		select {
		case <-time.After(backoff.Next(err, hint)):
		case <-ctx.Done():
			return
		}
	}
}

// mayConnect waits while the user is held back, and reports false once ctx
// has ended.
func (f *fleet) mayConnect(ctx context.Context, u hub.UserID) bool {
	f.mu.Lock()
	gate := f.held[u]
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// hold keeps users from reconnecting until release is called.
func (f *fleet) hold(users []hub.UserID) (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range users {
		f.held[u] = gate
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.held)
		close(gate)
	}
}

func (f *fleet) dial(ctx context.Context, d *device, to string) (*client.Conn, error) {
	f.dialing <- struct{}{}
	defer func() { <-f.dialing }()
	d.dialed = time.Now()
	conn, err := f.at.dial(ctx, d, to)
	for n := 1; n < len(f.at.fronts) && drains(err); n++ { // a load balancer would know
		f.turned.Add(1)
		conn, err = f.at.dial(ctx, d, f.at.host(d.number+n))
	}
	if err != nil && ctx.Err() == nil {
		f.failed.Add(1)
		f.book.Attempt(d.user, d.dialed)
		f.mu.Lock()
		f.lastErr = err
		f.mu.Unlock()
	}
	return conn, err
}

// drains reports whether err is a node's that drains.
func drains(err error) bool {
	r, ok := errors.AsType[*client.RefusedError](err)
	return ok && r.Status == http.StatusServiceUnavailable && r.Code == "draining"
}

// dial connects a device to a host and port, or, when that is empty, to its own front. A
// slow one has a small receive buffer, so that it
// shows soon that nobody reads.
func (e *entrance) dial(ctx context.Context, d *device, to string) (*client.Conn, error) {
	var sockets net.Dialer
	if d.slow {
		sockets.Control = smallBuffer
	}
	opts := e.options(d.number, func(context.Context) (string, error) {
		return clients.Token(e.secret, string(d.user), string(d.service))
	}, sockets)
	if to != "" {
		opts.URL = "ws://" + to + "/ws"
	}
	return client.Dial(ctx, opts)
}

// listen enters all that arrives on a connection until it ends; it returns
// why, and the server's last wish. A device that had a connection before asks
// what it missed meanwhile.
func (f *fleet) listen(ctx context.Context, d *device, conn *client.Conn) (hint *client.Reconnect, err error) {
	defer conn.Abort() //nolint:errcheck // a close that fails leaves nothing to do
	sheet := f.book.Open(d.user, d.service)
	sheet.Dialed, sheet.Roams = d.dialed, isPolled(conn.LocalAddr())
	f.opened(d, sheet, conn.LocalAddr().String())
	s := f.follow(d, conn, sheet)
	defer s.end()
	var stalled time.Time // when it stopped reading first
	for {
		before := time.Now()
		if f.stall(ctx, d) && stalled.IsZero() {
			stalled = before
		}
		m, err := conn.Receive(ctx)
		if err != nil {
			if ctx.Err() == nil { // our own hanging up at the end is no end to the books
				f.closed(sheet, ending{device: d, at: time.Now(), err: err, told: hint != nil, roams: sheet.Roams}, stalled)
			}
			return hint, err
		}
		if m.Reconnect != nil {
			hint = m.Reconnect
			f.toldNow()
		}
		if m.Notification != nil {
			f.received.Add(1)
			if s.phase == replay {
				f.replayed.Add(1)
			}
		}
		s.take(m)
	}
}

// follow begins a session.
func (f *fleet) follow(d *device, conn *client.Conn, sheet *ledger.Conn) *session {
	s := &session{follower: d.follower, conn: conn, sheet: sheet, caughtUp: func() {}}
	if d.guest && f.guests.recalled.Err() != nil {
		s.caughtUp = func() { d.back.Store(true) }
	}
	if d.began++; d.guest || d.began > 1 {
		s.begin()
	}
	return s
}

func (f *fleet) opened(d *device, c *ledger.Conn, addr string) {
	if !d.guest {
		f.open.Add(1)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[c] = place{d, addr}
}

// closed enters a connection's end. One that was closed for not reading was due
// nothing since it stopped.
func (f *fleet) closed(c *ledger.Conn, end ending, stalled time.Time) {
	e := ledger.End{At: end.at, Code: client.CloseCode(end.err), Told: end.told, Left: end.device.left.Load()}
	if e.Code == slowConsumer {
		e.Silent = stalled
	}
	c.Close(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	if !end.device.guest {
		f.open.Add(-1)
		f.ends = append(f.ends, end)
	}
}

// toldNow notes that a device was told to reconnect.
func (f *fleet) toldNow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tells = append(f.tells, time.Now())
}

// toldTimes returns when devices were told to reconnect.
func (f *fleet) toldTimes() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tells)
}

// endings returns how connections ended so far, without those of guests.
func (f *fleet) endings() []ending {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ends)
}

// payload is what our notifications carry in their data.
type payload struct {
	Sender int    `json:"s"`
	N      int    `json:"n"`
	Pad    string `json:"pad,omitempty"`
}

// receipt reads which notification arrived. One that is not ours has a key
// that nobody sent, and the ledger counts it as misdelivered.
func receipt(n *client.Notification) ledger.Receipt {
	p := payload{Sender: -1}
	if err := json.Unmarshal(n.Data, &p); err != nil {
		p.Sender = -1
	}
	return ledger.Receipt{Key: ledger.Key{Sender: p.Sender, N: p.N}, At: time.Now()}
}

// locate asks which worker holds each connection that nobody has been found for
// yet.
func (f *fleet) locate(ctx context.Context, at *holders) error {
	f.mu.Lock()
	unknown := make(map[*ledger.Conn]string)
	for c, l := range f.conns {
		if c.Holder() == 0 {
			unknown[c] = l.addr
		}
	}
	f.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	found, err := at.find(ctx, slices.Collect(maps.Values(unknown)))
	if err != nil {
		return err
	}
	for c, addr := range unknown {
		if pid, ok := found[addr]; ok {
			c.HeldBy(pid)
		}
	}
	return nil
}

// onlyAt returns the users all of whose open connections the worker holds.
func (f *fleet) onlyAt(worker int) []hub.UserID {
	f.mu.Lock()
	elsewhere, here := make(map[hub.UserID]bool), make(map[hub.UserID]bool)
	for c := range f.conns {
		if c.Holder() == worker {
			here[c.User] = true
		} else {
			elsewhere[c.User] = true
		}
	}
	f.mu.Unlock()
	var users []hub.UserID
	for _, u := range f.users() {
		if here[u] && !elsewhere[u] {
			users = append(users, u)
		}
	}
	return users
}

// lastFailure is why a dial failed last; nil when none did.
func (f *fleet) lastFailure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lastErr
}

// waitOpen waits until n connections are open or ctx ends.
func (f *fleet) waitOpen(ctx context.Context, n int) error {
	for f.open.Load() < int64(n) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d clients are connected (last failure: %v): %w", f.open.Load(), n, f.lastFailure(), ctx.Err()) //nolint:errorlint // only context matters to callers
		}
	}
	return nil
}
