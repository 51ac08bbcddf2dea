package drill

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/bench/usage"
)

// workerPool is the front's workers, who come and go.
type workerPool struct {
	*journal

	front   *stack.Front
	fleet   *fleet
	holders *holders
}

// locate finds the workers of new connections.
func (p *workerPool) locate(ctx context.Context) error { return p.fleet.locate(ctx, p.holders) }

// gone reports whether none of the workers runs any more.
func (p *workerPool) gone(workers []int) (bool, error) {
	now, err := p.front.Workers()
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(workers, func(pid int) bool { return slices.Contains(now, pid) }), nil
}

// watchReplaced waits until a worker has gone and as many as ever listen.
func (p *workerPool) watchReplaced(ctx context.Context, victim int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*replacedWithin)
	defer cancel()
	for {
		done, err := p.replaced(victim)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			_ = syscall.Kill(victim, syscall.SIGKILL) // it hangs, or has ended
			break
		}
	}
	took, limit := time.Since(p.faultAt), replacedWithin+p.stalls.longest()
	p.say("worker %d was replaced after %.1fs", victim, took.Seconds())
	if took > limit {
		p.result.breaks("worker %d, which hangs, was replaced after %v, want %v at most", victim, took.Round(time.Millisecond), limit.Round(time.Millisecond))
	}
	return nil
}

// replaced reports whether a worker has gone and others listen in all places.
func (p *workerPool) replaced(victim int) (bool, error) {
	now, err := p.front.Workers()
	if err != nil {
		return false, err
	}
	listen, err := usage.Listeners(p.front.MasterPID(), p.front.Port())
	return !slices.Contains(now, victim) && len(now) == workers && listen == workers, err
}
