package relay

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/homing/homing/hub"
)

// network is the pub/sub shards as ways to other processes.
type network struct {
	self   hub.ProcessID
	keys   hub.Keys
	lanes  []*lane // one per shard, in the role's order
	unsent prometheus.Counter
}

// item is one sending of pk to process to, over the lanes as p prefers them.
func (n *network) item(to hub.ProcessID, pk *packet, p *pair, b *batch) *item {
	return &item{
		channel: n.keys.Channel(to),
		payload: pk.append(make([]byte, 0, maxHeader+len(pk.body))),
		order:   p.order,
		turn:    p.turn,
		batch:   b,
	}
}

// publish queues it on the next lane that has not had it: one that answers
// before one that did not a moment ago. With none left it is unsent for now.
func (n *network) publish(it *item) {
	now := time.Now()
	for _, resting := range []bool{false, true} {
		for i := range it.order {
			at := it.order[(it.turn+i)%len(it.order)]
			if it.tried&(1<<at) != 0 || n.lanes[at].resting(now) != resting {
				continue
			}
			it.tried |= 1 << at
			if n.lanes[at].push(it) {
				return
			}
		}
	}
	n.unsent.Inc()
	it.batch.finish(false)
}

// spread sends pk to process to through every shard.
func (n *network) spread(to hub.ProcessID, pk *packet) {
	payload := pk.append(nil)
	for _, l := range n.lanes {
		l.push(&item{channel: n.keys.Channel(to), payload: payload})
	}
}

// preference ranks the lanes for receiver to by rendezvous hashing, so that a
// pair keeps its shard for as long as the shard exists.
func (n *network) preference(to hub.ProcessID) []int {
	order := make([]int, len(n.lanes))
	score := make([]uint64, len(n.lanes))
	for i, l := range n.lanes {
		order[i] = i
		score[i] = xxhash.Sum64String(string(n.self) + string(to) + l.name)
	}
	slices.SortFunc(order, func(a, b int) int {
		if score[a] > score[b] {
			return -1
		}
		return 1
	})
	return order
}
