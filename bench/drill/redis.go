package drill

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

// shard is the pub/sub shard that the faults are made on.
const shard = 0

func killPubSub(ctx context.Context, d *drill) error {
	return d.operator.kill(ctx, stack.ShardMaster(shard))
}

// hangPubSub halts the master for half of the time, in which another takes its
// place; then it comes back, with the connections that it had, as the master
// that it believes to be.
func hangPubSub(ctx context.Context, d *drill) error {
	srv, err := d.stack.Redis.Master(ctx, stack.ShardMaster(shard))
	if err != nil {
		return err
	}
	d.say("stopping %s, the master of %s", srv.Addr(), srv.Name())
	d.faultAt = time.Now()
	if err := srv.Stop(); err != nil {
		return fmt.Errorf("stop the master: %w", err)
	}
	if err := pause(ctx, d.opts.After/2); err != nil {
		return err
	}
	d.say("letting %s go on", srv.Addr())
	if err := srv.Cont(); err != nil {
		return fmt.Errorf("let the old master go on: %w", err)
	}
	return nil
}

// killReplica kills the replica that has the most subscribers.
func killReplica(ctx context.Context, d *drill) error {
	replicas, err := d.stack.Redis.Replicas(ctx, stack.ShardMaster(shard))
	if err != nil {
		return err
	}
	var victim *redisproc.Server
	most := -1
	for _, r := range replicas {
		n, err := subscribers(ctx, r)
		if err != nil {
			return err
		}
		if n > most {
			victim, most = r, n
		}
	}
	if most < 1 {
		return fmt.Errorf("nobody is subscribed at a replica of %s", stack.ShardMaster(shard))
	}
	d.say("killing %s, a replica of %s with %d subscribers", victim.Addr(), stack.ShardMaster(shard), most)
	d.faultAt = time.Now()
	victim.Crash()
	return nil
}

// subscribers counts the clients that are subscribed at a server.
func subscribers(ctx context.Context, srv *redisproc.Server) (int, error) {
	c := srv.Client()
	defer c.Close()
	list, err := c.Do(ctx, "CLIENT", "LIST", "TYPE", "pubsub").Text()
	if err != nil {
		return 0, fmt.Errorf("list the subscribers at %s: %w", srv.Addr(), err)
	}
	return strings.Count(list, "\n"), nil
}

func killSentinelAndMaster(ctx context.Context, d *drill) error {
	srv, err := d.stack.Redis.Master(ctx, stack.ShardMaster(shard))
	if err != nil {
		return err
	}
	sentinel := d.stack.Redis.Sentinels()[0]
	d.say("killing %s, the master of %s, and the Sentinel %s", srv.Addr(), stack.ShardMaster(shard), sentinel.Addr())
	d.faultAt = time.Now()
	sentinel.Crash()
	srv.Crash()
	return nil
}

// staleTimeout is how long each step of Sentinel may take.
const staleTimeout = 20 * time.Second

// staleMaster kills the master, and when another has taken its place starts it
// again, as a service manager does: it knows of nothing but being a master, until
// Sentinel tells it otherwise.
func staleMaster(ctx context.Context, d *drill) error {
	name := stack.ShardMaster(shard)
	old, err := d.stack.Redis.Master(ctx, name)
	if err != nil {
		return err
	}
	d.say("killing %s, the master of %s", old.Addr(), name)
	d.faultAt = time.Now()
	old.Crash()
	waiting, cancel := context.WithTimeout(ctx, staleTimeout)
	defer cancel()
	if _, err := d.operator.waitMaster(waiting, name, old); err != nil {
		return err
	}
	d.say("another master took its place after %.1fs: starting %s again", time.Since(d.faultAt).Seconds(), old.Addr())
	if err := old.Restart(waiting, ""); err != nil {
		return fmt.Errorf("start the old master again: %w", err)
	}
	return d.operator.watchDemoted(waiting, old)
}

// checkUndisturbed wants that clients have noticed nothing, and a clean index.
func checkUndisturbed(ctx context.Context, d *drill) error {
	d.attendance.checkConnects()
	d.attendance.checkEndings()
	return checkIndex(ctx, d)
}
