package drill

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	client "github.com/homing/homing/client/go"
)

const (
	// workerStall is how long one worker stands still: less than its master
	// lets it, and about as long as its lease stands.
	workerStall = 5 * time.Second
	// frontStall is how long the whole front stands still, as a virtual machine
	// that is moved does: longer than any lease stands.
	frontStall = 10 * time.Second
	// regroup is how long is waited between two faults of one scenario, beside
	// the time that it takes clients to come back.
	regroup = 3 * time.Second
)

// sentAwayWithin is how long after a fault connections may still end for it.
const sentAwayWithin = 10 * time.Second

// stallWorkers stops one worker for a while, and later the whole front.
func stallWorkers(ctx context.Context, d *drill) error {
	if err := d.pool.locate(ctx); err != nil {
		return err
	}
	pids, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	d.faultAt = time.Now()
	d.audit.sendsAway(d.faultAt, workerStall+sentAwayWithin, pids[1])
	d.say("worker %d stands still for %v", pids[1], workerStall)
	if err := standStill(ctx, workerStall, pids[1]); err != nil {
		return err
	}
	if err := d.attendance.regroup(ctx); err != nil {
		return err
	}
	if pids, err = d.stack.Front.PIDs(); err != nil {
		return err
	}
	d.audit.sendsAway(time.Now(), frontStall+sentAwayWithin)
	d.say("the front, master %d and workers %v, stands still for %v", pids[0], pids[1:], frontStall)
	if err := standStill(ctx, frontStall, pids...); err != nil {
		return err
	}
	return d.attendance.regroup(ctx)
}

// standStill stops processes and lets them go on after a while, or when ctx
// ends. The first goes first both times: a master that stands still does not
// wonder why its workers do.
func standStill(ctx context.Context, length time.Duration, pids ...int) error {
	if err := signalAll(syscall.SIGSTOP, pids); err != nil {
		return err
	}
	waited := pause(ctx, length)
	slices.Reverse(pids)
	if err := signalAll(syscall.SIGCONT, pids); err != nil {
		return err
	}
	return waited
}

func signalAll(sig syscall.Signal, pids []int) error {
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil {
			return fmt.Errorf("signal %v to process %d: %w", sig, pid, err)
		}
	}
	return nil
}

// checkSentAway wants that connections ended with 1012 if they did, that
// clients could come back, and a clean index.
func checkSentAway(ctx context.Context, d *drill) error {
	ends := d.fleet.endings()
	for _, e := range ends {
		// A polled session is not told what its owner cannot reach it with.
		if client.CloseCode(e.err) != comeBack && !e.roams {
			d.result.breaks("a connection of %s ended otherwise than by %d: %v", e.device.user, comeBack, e.err)
		}
	}
	d.say("%d connections were sent away", len(ends))
	return checkIndex(ctx, d)
}

const (
	// avoidedWithin is how soon nobody new may come to a worker that hangs,
	// replacedWithin how soon another must serve in its place.
	avoidedWithin  = 2 * time.Second
	replacedWithin = 10 * time.Second
)

// hangWorker stops one worker for good.
func hangWorker(ctx context.Context, d *drill) error {
	if err := d.pool.locate(ctx); err != nil {
		return err
	}
	pids, err := d.stack.Front.Workers()
	if err != nil {
		return err
	}
	victim := pids[1]
	d.faultAt = time.Now()
	d.audit.sendsAway(d.faultAt, replacedWithin+regroup, victim)
	d.say("worker %d hangs", victim)
	if err := syscall.Kill(victim, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop worker %d: %w", victim, err)
	}
	// What a worker has accepted in its last moment hangs with it: nobody can
	// take that over.
	if err := waitStopped(ctx, victim); err != nil {
		return err
	}
	replaced := make(chan error, 1)
	go func() { replaced <- d.pool.watchReplaced(ctx, victim) }()
	err = d.newcomers.watchHerds(ctx, d.faultAt.Add(replacedWithin))
	if err := <-replaced; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return d.attendance.watchReturn(ctx)
}

// waitStopped waits until every thread of a process stands still.
func waitStopped(ctx context.Context, pid int) error {
	for {
		stopped, err := allStopped(pid)
		if err != nil || stopped {
			return err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// allStopped reads the states of a process's threads (proc(5)).
func allStopped(pid int) (bool, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false, err
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			return false, fmt.Errorf("read the state of process %d: %w", pid, err)
		}
		// pid (name) state …, and the name may hold anything
		_, after, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " ")
		if !strings.HasPrefix(after, "T") {
			return false, nil
		}
	}
	return len(stats) > 0, nil
}
