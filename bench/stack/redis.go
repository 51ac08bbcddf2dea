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

// DataShards returns the names of the data masters that servers are told of.
func (s *Stack) DataShards() []string { return s.masters()[:s.dataUsed] }

// dataShards counts the data masters, the spare ones too.
func (s *Stack) dataShards() int { return s.opts.Data + s.opts.SpareData }

// masters lists the names of all masters, data first.
func (s *Stack) masters() []string {
	var names []string
	for i := range s.dataShards() {
		names = append(names, DataShard(i))
	}
	for i := range s.opts.Shards {
		names = append(names, ShardMaster(i))
	}
	return names
}

// startRedis starts masters with replicas and three Sentinels, or, without
// replicas, masters alone.
func (s *Stack) startRedis(ctx context.Context) (err error) {
	dir := s.file("redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory for Redis: %w", err)
	}
	if s.opts.Replicas == 0 {
		return s.startMasters(ctx, dir)
	}
	o := redisproc.TopologyOptions{
		Sentinels: 3, Dir: dir, BasePort: s.opts.BasePort, Place: s.opts.Place,
		FailoverTimeout: s.opts.FailoverTimeout,
	}
	for _, name := range s.masters() {
		o.Masters = append(o.Masters, redisproc.MasterSpec{Name: name, Replicas: s.opts.Replicas})
	}
	if s.topology, err = redisproc.StartTopology(ctx, o); err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	return nil
}

func (s *Stack) startMasters(ctx context.Context, dir string) error {
	for _, name := range s.masters() {
		srv, err := redisproc.StartServer(ctx, redisproc.ServerOptions{Name: name, Dir: dir})
		if err != nil {
			return fmt.Errorf("start Redis: %w", err)
		}
		s.alone = append(s.alone, srv)
	}
	return nil
}

func (s *Stack) stopRedis() {
	if s.topology != nil {
		s.topology.Close()
	}
	for _, srv := range s.alone {
		srv.Kill()
	}
}

// DataURLs returns the addresses of all data shards as servers are told them,
// the spare ones last.
func (s *Stack) DataURLs() []string { return s.urls()[:s.dataShards()] }

// PubSubURLs returns those of the pub/sub shards.
func (s *Stack) PubSubURLs() []string { return s.urls()[s.dataShards():] }

func (s *Stack) urls() (all []string) {
	if s.topology != nil {
		all = s.topology.URLs()
	}
	for _, srv := range s.alone {
		all = append(all, "redis://"+srv.Addr())
	}
	return all
}

// Master returns the server that is the named master now.
func (s *Stack) Master(ctx context.Context, name string) (*redisproc.Server, error) {
	if s.topology != nil {
		srv, err := s.topology.Current(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("find the master %s: %w", name, err)
		}
		return srv, nil
	}
	for i, n := range s.masters() {
		if n == name {
			return s.alone[i], nil
		}
	}
	return nil, fmt.Errorf("find the master %s: no such name", name)
}

// Replicas returns the servers of the named master that are not the master
// now; there are none without Sentinels.
func (s *Stack) Replicas(ctx context.Context, name string) ([]*redisproc.Server, error) {
	master, err := s.Master(ctx, name)
	if err != nil || s.topology == nil {
		return nil, err
	}
	return slices.DeleteFunc(s.Servers(name), func(srv *redisproc.Server) bool { return srv == master }), nil
}

// Servers returns all servers of the named master, the one that started as the
// master first.
func (s *Stack) Servers(name string) []*redisproc.Server {
	if s.topology == nil {
		if i := slices.Index(s.masters(), name); i >= 0 {
			return []*redisproc.Server{s.alone[i]}
		}
		return nil
	}
	for _, g := range s.topology.Groups {
		if g.Name == name {
			return g.Servers()
		}
	}
	return nil
}

// WaitReplicas waits until every master has all its replicas.
func (s *Stack) WaitReplicas(ctx context.Context) error {
	if s.topology == nil {
		return nil
	}
	return s.topology.WaitReplicas(ctx)
}

// Sentinels returns the Sentinels.
func (s *Stack) Sentinels() []*redisproc.Server {
	if s.topology == nil {
		return nil
	}
	return s.topology.Sentinels
}

// RedisPIDs returns all data and pub/sub servers that run, replicas too;
// Sentinels are left out.
func (s *Stack) RedisPIDs() []int {
	var pids []int
	for _, srv := range s.redisServers() {
		pids = append(pids, srv.PID())
	}
	return pids
}
