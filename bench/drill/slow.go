package drill

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// slowShare: one device in so many is slow.
const slowShare = 20

const (
	// A flood of floodRate times floodSize bytes a second fills what may wait
	// for one connection, some 300 KB, in about a second. The clients read
	// again when they have surely been closed and before the server gives up
	// telling them so.
	floodRate = 20
	floodSize = 16 << 10
	stallFor  = 2500 * time.Millisecond
)

// slowClients has some clients stop reading while much is sent to them.
func slowClients(ctx context.Context, d *drill) error {
	var users []hub.UserID
	for _, dev := range d.fleet.devices {
		if dev.slow && !slices.Contains(users, dev.user) {
			users = append(users, dev.user)
		}
	}
	d.say("clients of %d users stop reading, and %d KB/s are sent to each", len(users), floodRate*floodSize>>10)
	d.faultAt = time.Now()
	resume := d.fleet.stopReading()
	flood, cancel := context.WithTimeout(ctx, stallFor)
	defer cancel()
	d.senders.flood(flood, users, floodSize, floodRate)
	<-flood.Done()
	resume()
	d.say("they read again")
	slow := d.fleet.slow()
	for end := time.Now().Add(settleTimeout); len(d.fleet.endings()) < slow && time.Now().Before(end); {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return d.attendance.watchReturn(ctx)
}

// checkSlow wants that those who did not read were closed for it and came
// back, and nobody else was disturbed.
func checkSlow(ctx context.Context, d *drill) error {
	d.attendance.checkConnects()
	closed, slow := 0, d.fleet.slow()
	for _, e := range d.fleet.endings() {
		switch {
		case !e.device.slow:
			d.result.breaks("a connection of %s ended, which read all the time: %v", e.device.user, e.err)
		case client.CloseCode(e.err) == slowConsumer:
			closed++
		default:
			d.result.breaks("a slow connection of %s ended otherwise: %v", e.device.user, e.err)
		}
	}
	d.result.SlowClosed = &closed
	if closed < slow {
		d.result.breaks("%d of %d slow connections were closed with %d", closed, slow, slowConsumer)
	}
	return checkIndex(ctx, d)
}

// slow counts the slow devices.
func (f *fleet) slow() (n int) {
	for _, d := range f.devices {
		if d.slow {
			n++
		}
	}
	return n
}

func smallBuffer(_, _ string, c syscall.RawConn) error {
	const size = 4096
	var err error
	gone := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, size)
	})
	return errors.Join(gone, err)
}

// stopReading keeps slow devices from reading on, after what they read next,
// until resume is called.
func (f *fleet) stopReading() (resume func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalled = gate
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stalled = nil
		close(gate)
	}
}

// stall waits while d may not read, and reports whether it had to.
func (f *fleet) stall(ctx context.Context, d *device) bool {
	if !d.slow {
		return false
	}
	f.mu.Lock()
	gate := f.stalled
	f.mu.Unlock()
	if gate == nil {
		return false
	}
	select {
	case <-gate:
	case <-ctx.Done():
	}
	return true
}
