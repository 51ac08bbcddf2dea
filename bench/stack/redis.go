package stack

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/homing/homing/redisx/redisproc"
)

// DataMaster is the name of the first data master.
const DataMaster = "data"

// DataShard returns the name of the master of data shard i.
func DataShard(i int) string {
	if i == 0 {
		return DataMaster
	}
	return DataMaster + "-" + strconv.Itoa(i+1)
}

// ShardMaster returns the name of the master of pub/sub shard i.
func ShardMaster(i int) string { return "pubsub-" + strconv.Itoa(i+1) }

// Redis are the Redis servers and their Sentinels.
type Redis struct {
	opts     Options
	dir      workDir
	topology *redisproc.Topology // with replicas
	alone    []*redisproc.Server // without
}

// dataShards counts the data masters, the spare ones too.
func (r *Redis) dataShards() int { return r.opts.Data + r.opts.SpareData }

// masters lists the names of all masters, data first.
func (r *Redis) masters() []string {
	var names []string
	for i := range r.dataShards() {
		names = append(names, DataShard(i))
	}
	for i := range r.opts.Shards {
		names = append(names, ShardMaster(i))
	}
	return names
}

// start starts masters with replicas and three Sentinels, or, without
// replicas, masters alone.
func (r *Redis) start(ctx context.Context) (err error) {
	dir := r.dir.file("redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory for Redis: %w", err)
	}
	if r.opts.Replicas == 0 {
		return r.startMasters(ctx, dir)
	}
	o := redisproc.TopologyOptions{
		Sentinels: 3, Dir: dir, BasePort: r.opts.BasePort, Place: r.opts.Place,
		FailoverTimeout: r.opts.FailoverTimeout,
	}
	for _, name := range r.masters() {
		o.Masters = append(o.Masters, redisproc.MasterSpec{Name: name, Replicas: r.opts.Replicas})
	}
	if r.topology, err = redisproc.StartTopology(ctx, o); err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	return nil
}

func (r *Redis) startMasters(ctx context.Context, dir string) error {
	for _, name := range r.masters() {
		srv, err := redisproc.StartServer(ctx, redisproc.ServerOptions{Name: name, Dir: dir})
		if err != nil {
			return fmt.Errorf("start Redis: %w", err)
		}
		r.alone = append(r.alone, srv)
	}
	return nil
}

func (r *Redis) stop() {
	if r.topology != nil {
		r.topology.Close()
	}
	for _, srv := range r.alone {
		srv.Kill()
	}
}

// DataURLs returns the addresses of all data shards as servers are told them,
// the spare ones last.
func (r *Redis) DataURLs() []string { return r.urls()[:r.dataShards()] }

// PubSubURLs returns those of the pub/sub shards.
func (r *Redis) PubSubURLs() []string { return r.urls()[r.dataShards():] }

func (r *Redis) urls() (all []string) {
	if r.topology != nil {
		all = r.topology.URLs()
	}
	for _, srv := range r.alone {
		all = append(all, "redis://"+srv.Addr())
	}
	return all
}

// Master returns the server that is the named master now.
func (r *Redis) Master(ctx context.Context, name string) (*redisproc.Server, error) {
	if r.topology != nil {
		srv, err := r.topology.Current(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("find the master %s: %w", name, err)
		}
		return srv, nil
	}
	for i, n := range r.masters() {
		if n == name {
			return r.alone[i], nil
		}
	}
	return nil, fmt.Errorf("find the master %s: no such name", name)
}

// Replicas returns the servers of the named master that are not the master
// now; there are none without Sentinels.
func (r *Redis) Replicas(ctx context.Context, name string) ([]*redisproc.Server, error) {
	master, err := r.Master(ctx, name)
	if err != nil || r.topology == nil {
		return nil, err
	}
	return slices.DeleteFunc(r.Servers(name), func(srv *redisproc.Server) bool { return srv == master }), nil
}

// Servers returns all servers of the named master, the one that started as the
// master first.
func (r *Redis) Servers(name string) []*redisproc.Server {
	if r.topology == nil {
		if i := slices.Index(r.masters(), name); i >= 0 {
			return []*redisproc.Server{r.alone[i]}
		}
		return nil
	}
	for _, g := range r.topology.Groups {
		if g.Name == name {
			return g.Servers()
		}
	}
	return nil
}

// WaitReplicas waits until every master has all its replicas.
func (r *Redis) WaitReplicas(ctx context.Context) error {
	if r.topology == nil {
		return nil
	}
	return r.topology.WaitReplicas(ctx)
}

// Sentinels returns the Sentinels.
func (r *Redis) Sentinels() []*redisproc.Server {
	if r.topology == nil {
		return nil
	}
	return r.topology.Sentinels
}

// PIDs returns all data and pub/sub servers that run, replicas too;
// Sentinels are left out.
func (r *Redis) PIDs() []int {
	var pids []int
	for _, srv := range r.servers() {
		pids = append(pids, srv.PID())
	}
	return pids
}
