package drill

import (
	"context"
	"fmt"
	"slices"
	"time"

	client "github.com/homing/homing/client/go"
	"github.com/homing/homing/hub"
)

// killAPI kills one of the API servers. Its callers go to the other.
func killAPI(_ context.Context, d *drill) error {
	d.say("killing the API server %s", d.stack.APIs()[1])
	d.faultAt = time.Now()
	return d.stack.KillAPI(1)
}

const (
	// replaceTimeout is how long the front may take to replace its workers.
	replaceTimeout = 40 * time.Second
	// noticed is how much later than its worker a client may find its
	// connection closed, on a machine that does not stall.
	noticed = 100 * time.Millisecond
)

// replaceWorkers has the front replace its workers, while newcomers connect
// all the time, and waits until the old ones have gone.
func replaceWorkers(ctx context.Context, d *drill) error {
	if err := d.locate(); err != nil {
		return err
	}
	old, err := d.stack.Workers()
	if err != nil {
		return err
	}
	d.owed = func(holder int, closed time.Time) time.Time {
		if !slices.Contains(old, holder) {
			return time.Time{}
		}
		return closed.Add(-noticed - d.stalls.longest())
	}
	d.say("replacing workers %v", old)
	d.faultAt = time.Now()
	if err := d.stack.ReplaceWorkers(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	for n := 0; ; n++ {
		if err := d.tryConnect(ctx, n); err != nil {
			d.result.FailedConnects++
			d.result.breaks("a connect failed: %v", err)
		}
		gone, err := d.gone(old)
		if err != nil {
			return err
		}
		if gone {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the workers to be replaced: %w", err)
		}
	}
	return d.watchReturn(ctx)
}

// gone reports whether none of the workers runs any more.
func (d *drill) gone(workers []int) (bool, error) {
	now, err := d.stack.Workers()
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(workers, func(pid int) bool { return slices.Contains(now, pid) }), nil
}

// checkReplaced wants that every client was told to reconnect, and could.
func checkReplaced(ctx context.Context, d *drill) error {
	if n := d.fleet.failed.Load(); n > 0 {
		d.result.breaks("%d connects failed, the last because: %v", n, d.fleet.lastFailure())
	}
	told := make(map[*device]bool)
	for _, e := range d.fleet.endings() {
		if !e.told && client.CloseCode(e.err) != comeBack {
			d.result.breaks("a connection of %s ended without a word: %v", e.device.user, e.err)
		}
		told[e.device] = true
	}
	if len(told) < len(d.fleet.devices) {
		d.result.breaks("%d of %d clients were told to reconnect", len(told), len(d.fleet.devices))
	}
	return checkIndex(ctx, d)
}

// Close codes of the front.
const (
	comeBack     = 1012
	slowConsumer = 4008
)

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
	return d.watchReturn(ctx)
}

// checkSlow wants that those who did not read were closed for it and came
// back, and nobody else was disturbed.
func checkSlow(ctx context.Context, d *drill) error {
	if n := d.fleet.failed.Load(); n > 0 {
		d.result.breaks("%d connects failed, the last because: %v", n, d.fleet.lastFailure())
	}
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
