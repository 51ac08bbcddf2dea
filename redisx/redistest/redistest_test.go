package redistest_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpen(t *testing.T) {
	t.Parallel()
	url := redistest.Server(t)
	a, b := redistest.Config(t, url), redistest.Config(t, url)
	if a.Prefix == b.Prefix {
		t.Errorf("two tests share the prefix %s", a.Prefix)
	}
	if _, err := redistest.Open(t, a).Data.Shards()[0].Master(); err != nil {
		t.Error(err)
	}
}

func TestTopology(t *testing.T) {
	t.Parallel()
	r := redistest.Open(t, redistest.TopologyConfig(t, redistest.Topology(t, redisproc.TopologyOptions{})))
	for _, s := range append(r.Data.Shards(), r.PubSub.Shards()...) {
		if n := len(s.Nodes()); n != 3 {
			t.Errorf("%s has %d nodes, want a master and 2 replicas", s.Name(), n)
		}
	}
	if r.Data.Shards()[0] == r.PubSub.Shards()[0] {
		t.Error("data and pub/sub share a shard")
	}
}
