package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/homing/homing/bench/ledger"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
)

// broadcastRate is how many broadcasts a second are posted: each is a delivery
// to everybody.
const broadcastRate = 2

// broadcastAndReplace has the front replace its workers while broadcasts are
// posted.
func broadcastAndReplace(ctx context.Context, d *drill) error {
	broadcasting, stop := context.WithCancel(ctx)
	defer stop()
	var posting sync.WaitGroup
	defer posting.Wait()
	defer stop()
	posting.Go(func() { d.senders.broadcast(broadcasting) })
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	if err := replaceWorkers(ctx, d); err != nil {
		return err
	}
	return pause(ctx, regroup)
}

// broadcast posts broadcasts, to one API server after the other, until ctx
// ends.
func (s *senders) broadcast(ctx context.Context) {
	schedule := load.Schedule{Rate: broadcastRate, Duration: time.Hour, Callers: 1}
	schedule.Run(ctx, func(n int, due time.Time) func(context.Context) {
		m := &ledger.Message{
			Key: ledger.Key{Sender: s.count + 1, N: n}, API: n % len(s.posters), Everybody: true, Due: due,
		}
		body := broadcastBody(m)
		return func(ctx context.Context) {
			_, err := s.posters[m.API].Broadcast(context.WithoutCancel(ctx), body)
			s.enter(m, err)
		}
	})
}

func broadcastBody(m *ledger.Message) []byte {
	return fmt.Appendf(nil, `{"type":"drill","data":{"s":%d,"n":%d}}`, m.Sender, m.N)
}

// pipedLogs has servers log into pipes.
func pipedLogs(o *stack.Options) { o.Pipes, o.FrontArgs = true, append(o.FrontArgs, quickDrain...) }

// serveAgainWithin is how soon after Redis is back everything must work,
// whoever reads the logs.
const serveAgainWithin = 10 * time.Second

// loseLogs takes away the readers of what servers log, and restarts Redis, of
// which there is much to say; and again with readers who do not read.
func loseLogs(ctx context.Context, d *drill) error {
	if err := d.audit.movesAll(d.stack.Front); err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.say("nobody reads what the servers log any more: the pipes are closed")
	d.stack.CloseLogs()
	if err := restartRedis(ctx, d); err != nil {
		return err
	}
	d.say("restarting the servers")
	for i := range d.stack.API.URLs() {
		if err := d.stack.API.Restart(ctx, i); err != nil {
			return err
		}
	}
	if err := d.stack.Front.Restart(ctx); err != nil {
		return err
	}
	if err := errors.Join(d.attendance.watchReturn(ctx), d.audit.movesAll(d.stack.Front)); err != nil {
		return err
	}
	d.say("nobody reads what the servers log any more: the pipes are full")
	if err := d.stack.StopReadingLogs(); err != nil {
		return err
	}
	if err := restartRedis(ctx, d); err != nil {
		return err
	}
	return replaceQuietly(ctx, d)
}

// restartRedis restarts replicas, and wants every server to live and to be ready
// again.
func restartRedis(ctx context.Context, d *drill) error {
	if err := d.operator.restartReplicas(ctx); err != nil {
		return err
	}
	return checkAlive(ctx, d)
}

// checkAlive wants every server to live and to be ready.
func checkAlive(ctx context.Context, d *drill) error {
	for i, url := range d.stack.API.URLs() {
		d.readiness.wait(ctx, fmt.Sprintf("API server %d", i), url, serveAgainWithin)
	}
	if err := d.stack.Alive(); err != nil {
		d.result.breaks("%v", err)
	}
	if a := d.newcomers.connect(ctx, "newcomer"); !a.ok() {
		d.result.breaks("nobody can connect: %v", a)
	}
	return pause(ctx, time.Second)
}

// replaceQuietly wants the front to obey SIGHUP though nobody reads its log.
func replaceQuietly(ctx context.Context, d *drill) error {
	old, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	d.say("replacing workers %v", old)
	if err := d.stack.Front.ReplaceWorkers(); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, replaceTimeout/2)
	defer cancel()
	for {
		gone, err := d.pool.gone(old)
		if err != nil {
			return err
		}
		if gone {
			return d.attendance.watchReturn(ctx)
		}
		if pause(waiting, 100*time.Millisecond) != nil {
			d.result.breaks("the front does not replace its workers when nobody reads its log")
			return ctx.Err()
		}
	}
}
