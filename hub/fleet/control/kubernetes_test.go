package control

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub/fleet"
	"github.com/homing/homing/hub/fleet/driver"
	"github.com/homing/homing/hub/fleet/driver/kubetest"
)

// TestKubernetesTakesAnotherPod than the one that was drained: with the driver and an API
// that does it. It is noticed and told, the players of that pod have places at the nodes
// that are left, and in the end the right one goes too. That they are told to leave, and
// lose nothing on the way, is for the front that is stopped: the drills show it.
func TestKubernetesTakesAnotherPod(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	p := w.settlePlayers()
	a := kubetest.New(t, "deployment", "front", 3)
	var wrong atomic.Bool
	a.Victim = func(pods []*kubetest.Pod) string {
		if !wrong.Swap(true) {
			return "front-0"
		}
		return pods[max(0, slices.IndexFunc(pods, func(p *kubetest.Pod) bool { return p.Cost != "" }))].Name
	}
	a.Started, a.Stopped = w.start, p.stop
	for id, players := range map[string]int64{"front-0": 10, "front-1": 10, "front-2": 5} {
		w.start(id)
		w.nodes[id].players.Store(players)
	}
	w.eventually("the pods", func() bool { return len(w.snapshot().Nodes) == 3 })
	w.run("a", strings.Replace(quick, "start_up: 3s", "start_up: 5s", 1), kubernetes(t, a), nil)

	w.eventually("the failure", func() bool {
		return strings.Contains(w.told(), "of kubernetes: failed") && strings.Contains(w.told(), "pod front-2 was to go, and front-0 went")
	})
	w.eventually("another pod for it, and the end of the one that was drained", func() bool {
		pods, replicas := a.Pods()
		return replicas == 2 && slices.Equal(pods, []string{"front-1", "front-3"}) && slices.Equal(w.names(), pods)
	})
	w.eventually("the last outcome", func() bool { return strings.Count(w.told(), "of kubernetes: done") == 2 })
	told := w.told()
	for _, want := range []string{
		"game: lost: front-0 is gone with 1", "front-2 was to go and is still there: was the wrong one taken?",
		"game: remove front-2: front-2 is still there",
	} {
		if strings.Count(told, want) != 1 {
			t.Errorf("the journal says %d times %q, want once:\n%s", strings.Count(told, want), want, told)
		}
	}
	if strings.Count(told, "game: lost: ") != 1 || strings.Count(told, "of kubernetes: failed") != 1 {
		t.Errorf("the journal:\n%s", told)
	}
	if n := w.players(); n != 25 {
		t.Errorf("%d players are left of 25", n)
	}
	if n := p.drained.Load(); n != 0 {
		t.Errorf("%d players were sent to the node that drains", n)
	}
}

// kubernetes is the driver on an API.
func kubernetes(t *testing.T, a *kubetest.API) *driver.Kubernetes {
	t.Helper()
	c := driver.KubernetesConfig{Workloads: []string{"deployment/front"}, Namespace: "games", Server: a.URL(), Timeout: 30 * time.Second}
	c.TokenFile, c.CAFile = a.Files()
	d, err := driver.NewKubernetes(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// settled are players who ask the roster for a place when their node sends them away or
// is stopped.
type settled struct {
	*town

	drained atomic.Int64 // how many had a place at a node that drained
}

func (w *town) settlePlayers() *settled {
	p := &settled{town: w}
	w.sent = p.move
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	w.t.Cleanup(func() { end(); running.Wait() })
	return p
}

// stop ends a node as its pod's end does.
func (p *settled) stop(id string) {
	p.mu.Lock()
	n := p.nodes[id]
	p.mu.Unlock()
	p.remove(id)
	p.move(n.players.Swap(0))
}

// move has players come to the nodes that they are assigned to.
func (p *settled) move(players int64) {
	for players > 0 {
		a, err := p.Assign(context.Background(), fleet.Request{Cluster: "game", Players: 1})
		if err != nil {
			p.t.Errorf("a player has no place: %v", err)
			return
		}
		p.mu.Lock()
		if n := p.nodes[a.Node]; n != nil { // else it has just gone: once more
			if n.drained.Load() {
				p.drained.Add(1)
			}
			n.players.Add(1)
			players--
		}
		p.mu.Unlock()
	}
}

// players is how many there are at all nodes.
func (w *town) players() (all int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		all += n.players.Load()
	}
	return all
}
