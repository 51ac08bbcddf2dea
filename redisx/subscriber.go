package redisx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Handler takes one message. shard is the index in Role.Shards. It is called
// from one goroutine per shard, in the order of that server's stream, and must
// not block: a subscriber that does not read is cut off by Redis. payload is
// the handler's to keep and to change.
type Handler func(shard int, channel string, payload []byte)

// Subscriber keeps channels subscribed on one server of every shard of a role:
// a healthy replica chosen at random, or the master while no replica is
// healthy.
//
// A server that stays silent is pinged after half a second and left after
// another half; one that is demoted, cut off from its master, down for the
// Sentinels or gone is left within about a second, even if it answers. Where
// the old server still answers, the new subscription is confirmed before the
// old one is let go: around such a move messages may come twice. Around a
// failure they may be lost, which is for the layer above to find and repair.
type Subscriber struct {
	feeds []*feed
}

// NewSubscriber prepares subscriptions to channels, of which there must be at
// least one. Run subscribes. reg may be nil.
func NewSubscriber(role *Role, channels []string, h Handler, log *slog.Logger, reg prometheus.Registerer) *Subscriber {
	s := &Subscriber{}
	m := newMetrics(reg)
	for i, shard := range role.Shards() {
		s.feeds = append(s.feeds, newFeed(i, shard, channels, h, log, m))
	}
	return s
}

// Run keeps the channels subscribed until ctx ends; then it returns nil, and
// the handler is not called any more. It may be called once.
func (s *Subscriber) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, f := range s.feeds {
		all.Go(func() { f.run(ctx) })
	}
	all.Wait()
	return nil
}

// readyWithin is how fresh a sign of life Ready wants from every server.
const readyWithin = 2 * time.Second

// Ready reports whether every shard's subscription is confirmed and its server
// has been heard within the last two seconds.
func (s *Subscriber) Ready() bool {
	for _, f := range s.feeds {
		if l := f.current.Load(); l == nil || l.silence() > readyWithin {
			return false
		}
	}
	return true
}

// WaitReady waits until every shard's subscription is confirmed. When ctx ends
// before, the error names a shard that lacks it.
func (s *Subscriber) WaitReady(ctx context.Context) error {
	for _, f := range s.feeds {
		select {
		case <-f.first:
		case <-ctx.Done():
			return fmt.Errorf("redis %s: %w: not subscribed: %w", f.shard.Name(), ErrUnavailable, errors.Join(f.failure(), ctx.Err()))
		}
	}
	return nil
}

// Nodes returns, for each shard, the address that is subscribed at, "" where
// there is none now.
func (s *Subscriber) Nodes() []string {
	nodes := make([]string, len(s.feeds))
	for i, f := range s.feeds {
		if l := f.current.Load(); l != nil {
			nodes[i] = l.addr
		}
	}
	return nodes
}

// Leave gives up the server that shard is subscribed at, because what was
// published did not come through it, and subscribes at another one if there is
// one. It returns at once.
func (s *Subscriber) Leave(shard int) {
	f := s.feeds[shard]
	if l := f.current.Load(); l != nil {
		f.avoid.add(l.addr)
		l.close()
	}
}
