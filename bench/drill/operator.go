package drill

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/redisx/redisproc"
)

// operator kills Redis servers, and replaces and brings them back as whoever
// runs them does.
type operator struct {
	*journal

	redis *stack.Redis
}

// kill kills a master.
func (o *operator) kill(ctx context.Context, name string) error {
	srv, err := o.redis.Master(ctx, name)
	if err != nil {
		return err
	}
	o.say("killing %s, the master of %s", srv.Addr(), name)
	o.faultAt = time.Now()
	srv.Crash()
	return nil
}

// waitMaster waits until another server than old is the master.
func (o *operator) waitMaster(ctx context.Context, name string, old *redisproc.Server) (*redisproc.Server, error) {
	for {
		now, err := o.redis.Master(ctx, name)
		if err == nil && now != old {
			return now, nil
		}
		if e := pause(ctx, 20*time.Millisecond); e != nil {
			return nil, fmt.Errorf("wait for another master of %s: %w", name, cmp.Or(err, e))
		}
	}
}

// watchDemoted waits until a server is no master any more.
func (o *operator) watchDemoted(ctx context.Context, srv *redisproc.Server) error {
	c := srv.Client()
	defer c.Close()
	for began := time.Now(); ; {
		role, err := c.Do(ctx, "ROLE").Slice()
		if err == nil && len(role) > 0 && role[0] != "master" {
			o.say("%s was a second master for %.1fs", srv.Addr(), time.Since(began).Seconds())
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("wait for %s to be no master any more: %w", srv.Addr(), ctx.Err())
		}
	}
}

const (
	// failoverTimeout is how long a planned failover may take.
	failoverTimeout = 20 * time.Second
	// operatorTakes is how long after a failover somebody looks after the old
	// master. Left alone it would be a second one for some 10 s more.
	operatorTakes = time.Second
)

// failover asks a Sentinel to replace a master, has the old one follow the new
// one, as whoever upgrades it does, and waits until all replicas follow.
func (o *operator) failover(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	old, err := o.redis.Master(ctx, name)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := o.askFailover(ctx, name); err != nil {
		return err
	}
	master, err := o.waitMaster(ctx, name, old)
	if err != nil {
		return err
	}
	o.say("%s is the master of %s instead of %s after %.1fs", master.Addr(), name, old.Addr(), time.Since(began).Seconds())
	if err := pause(ctx, operatorTakes); err != nil {
		return err
	}
	c := old.Client()
	defer c.Close()
	host, port, err := net.SplitHostPort(master.Addr())
	if err == nil {
		err = c.Do(ctx, "REPLICAOF", host, port).Err()
	}
	if err != nil {
		return fmt.Errorf("have %s follow %s: %w", old.Addr(), master.Addr(), err)
	}
	return o.redis.WaitReplicas(ctx)
}

// askFailover asks until a Sentinel obeys: it does not while it sees no
// replica that is good enough.
func (o *operator) askFailover(ctx context.Context, name string) error {
	c := o.redis.Sentinels()[0].Client()
	defer c.Close()
	for {
		err := c.Do(ctx, "SENTINEL", "FAILOVER", name).Err()
		if err == nil {
			o.say("asked for a failover of %s", name)
			return nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("ask for a failover of %s: %w", name, err)
		}
	}
}

// victim is a server to kill: the master of a name, or a replica of it.
type victim struct {
	name    string
	replica bool
}

func (v victim) find(ctx context.Context, servers *stack.Redis) (*redisproc.Server, error) {
	if !v.replica {
		return servers.Master(ctx, v.name)
	}
	replicas, err := servers.Replicas(ctx, v.name)
	if err != nil {
		return nil, err
	}
	return replicas[0], nil
}

// killPair kills two servers, waits until others are the masters, starts the
// two again as replicas of these, and waits until all is whole.
func (o *operator) killPair(ctx context.Context, pair [2]victim) error {
	ctx, cancel := context.WithTimeout(ctx, 2*failoverTimeout)
	defer cancel()
	var dead [2]*redisproc.Server
	for i, v := range pair {
		var err error
		if dead[i], err = v.find(ctx, o.redis); err != nil {
			return err
		}
	}
	began := time.Now()
	for i, srv := range dead {
		o.say("killing %s of %s", srv.Addr(), pair[i].name)
		srv.Crash()
	}
	for i, srv := range dead {
		if err := o.bringBack(ctx, pair[i], srv); err != nil {
			return err
		}
	}
	o.say("both are back as replicas %.1fs after their death", time.Since(began).Seconds())
	if err := o.redis.WaitReplicas(ctx); err != nil {
		return err
	}
	return pause(ctx, regroup)
}

// bringBack starts a server again that was killed, as a replica of whoever is
// the master now.
func (o *operator) bringBack(ctx context.Context, v victim, srv *redisproc.Server) error {
	master, err := o.redis.Master(ctx, v.name)
	if err == nil && !v.replica {
		master, err = o.waitMaster(ctx, v.name, srv)
	}
	if err != nil {
		return err
	}
	if err := srv.Restart(ctx, master.Addr()); err != nil {
		return fmt.Errorf("bring %s back: %w", srv.Addr(), err)
	}
	return nil
}

// restartReplicas kills the replicas of a pub/sub shard and of data Redis and
// starts them again.
func (o *operator) restartReplicas(ctx context.Context) error {
	replicas, err := o.redis.Replicas(ctx, stack.ShardMaster(1))
	if err != nil {
		return err
	}
	data, err := o.redis.Replicas(ctx, stack.DataMaster)
	if err != nil {
		return err
	}
	o.say("restarting replicas of %s and %s", stack.ShardMaster(1), stack.DataMaster)
	for i, srv := range append(replicas, data...) {
		v := victim{name: stack.ShardMaster(1), replica: true}
		if i >= len(replicas) {
			v.name = stack.DataMaster
		}
		srv.Crash()
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		if err := o.bringBack(ctx, v, srv); err != nil {
			return err
		}
	}
	return nil
}
