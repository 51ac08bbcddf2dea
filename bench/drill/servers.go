package drill

import (
	"context"
	"fmt"
	"time"
)

// killAPI kills one of the API servers. Its callers go to the other.
func killAPI(_ context.Context, d *drill) error {
	d.say("killing the API server %s", d.stack.API.URLs()[1])
	d.faultAt = time.Now()
	return d.stack.API.Kill(1)
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
	if err := d.pool.locate(ctx); err != nil {
		return err
	}
	old, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	if err := d.audit.movesAll(d.stack.Front); err != nil {
		return err
	}
	d.say("replacing workers %v", old)
	d.faultAt = time.Now()
	if err := d.stack.Front.ReplaceWorkers(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, replaceTimeout)
	defer cancel()
	for n := 0; ; n++ {
		if err := d.newcomers.try(ctx, n); err != nil {
			d.result.FailedConnects++
			d.result.breaks("a connect failed: %v", err)
		}
		gone, err := d.pool.gone(old)
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
	return d.attendance.watchReturn(ctx)
}

// checkReplaced wants that every client was told to reconnect, and could.
func checkReplaced(ctx context.Context, d *drill) error {
	d.attendance.checkConnects()
	d.checkWords()
	told := make(map[*device]bool)
	for _, e := range d.fleet.endings() {
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
