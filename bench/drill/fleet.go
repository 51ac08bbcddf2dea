package drill

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/usage"
	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// services that devices connect from; "" is a token that names none.
var services = []hub.Service{"", "chess", "poker"}

// fleet is all clients of a drill: users with one to three devices each, every
// device connected for as long as it can be; and guests.
type fleet struct {
	book    *ledger.Book
	front   string
	secret  []byte
	devices []*device
	guests  *guests

	dialing  chan struct{} // bounds the dials under way
	running  sync.WaitGroup
	open     atomic.Int64 // connections of devices now
	failed   atomic.Int64 // dials that failed
	received atomic.Int64 // notifications
	replayed atomic.Int64 // of those, as the answer to resume

	mu      sync.Mutex
	lastErr error                   // why a dial failed last
	conns   map[*ledger.Conn]string // open connections, by the client's address
	held    map[hub.UserID]chan struct{}
	stalled chan struct{} // until it is closed slow devices do not read; nil: they do
	ends    []ending
}

// ending is how a connection ended that we did not end.
type ending struct {
	device *device
	at     time.Time
	err    error
	told   bool // to reconnect
}

// device is one client of a user.
type device struct {
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
func newFleet(book *ledger.Book, front string, secret []byte, conns int) *fleet {
	f := &fleet{
		book: book, front: front, secret: secret,
		dialing: make(chan struct{}, dialsUnderWay),
		conns:   make(map[*ledger.Conn]string),
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
	for f.mayConnect(ctx, d.user) {
		conn, err := f.dial(ctx, d)
		var hint *client.Reconnect
		if err == nil {
			backoff.Reset()
			hint, err = f.listen(ctx, d, conn)
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

func (f *fleet) dial(ctx context.Context, d *device) (*client.Conn, error) {
	f.dialing <- struct{}{}
	defer func() { <-f.dialing }()
	d.dialed = time.Now()
	conn, err := dialAs(ctx, f.front, f.secret, d)
	if err != nil && ctx.Err() == nil {
		f.failed.Add(1)
		f.book.Attempt(d.user, d.dialed)
		f.mu.Lock()
		f.lastErr = err
		f.mu.Unlock()
	}
	return conn, err
}

// dialAs connects a device. A slow one has a small receive buffer, so that it
// shows soon that nobody reads.
func dialAs(ctx context.Context, front string, secret []byte, d *device) (*client.Conn, error) {
	o := client.Options{
		URL: front,
		Token: func(context.Context) (string, error) {
			return clients.Token(secret, string(d.user), string(d.service))
		},
		HandshakeTimeout: 5 * time.Second,
	}
	if d.slow {
		o.NetDial = (&net.Dialer{Control: smallBuffer}).DialContext
	}
	return client.Dial(ctx, o)
}

// listen enters all that arrives on a connection until it ends; it returns
// why, and the server's last wish. A device that had a connection before asks
// what it missed meanwhile.
func (f *fleet) listen(ctx context.Context, d *device, conn *client.Conn) (hint *client.Reconnect, err error) {
	defer conn.Abort() //nolint:errcheck // a close that fails leaves nothing to do
	sheet := f.book.Open(d.user, d.service)
	sheet.Dialed = d.dialed
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
				f.closed(sheet, ending{device: d, at: time.Now(), err: err, told: hint != nil}, stalled)
			}
			return hint, err
		}
		if m.Reconnect != nil {
			hint = m.Reconnect
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
	f.conns[c] = addr
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

// locate asks the kernel which worker holds each connection that nobody has
// been found for yet.
func (f *fleet) locate(port int, workers []int) error {
	f.mu.Lock()
	unknown := make(map[*ledger.Conn]string)
	for c, addr := range f.conns {
		if c.Holder() == 0 {
			unknown[c] = addr
		}
	}
	f.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	holders, err := usage.Holders(port, workers)
	if err != nil {
		return fmt.Errorf("find who holds the connections: %w", err)
	}
	for c, addr := range unknown {
		if pid, ok := holders[addr]; ok {
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
