package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/load"
	"github.com/homing/homing/bench/stack"
	"github.com/homing/homing/client/conformance"
)

// journey is what is under way.
type journey struct {
	opts    options
	stack   *stack.Stack
	proxy   *proxy
	parties []*party
	all     []*traveler

	mu   sync.Mutex
	sent []int // notifications accepted, by traveler
	said int   // messages that each has published
}

const (
	// settle is how long after the last trouble everything must have arrived.
	settle = 90 * time.Second
	// aftermath is how long the load goes on after the last trouble: a failover takes
	// some seconds.
	aftermath = 8 * time.Second
	// topicKept is the topic that all publish to.
	topicKept = "journey"
)

func run(ctx context.Context, o options) (err error) {
	if len(o.command) == 0 {
		return errors.New("which agent?")
	}
	j := &journey{opts: o, sent: make([]int, o.clients)}
	keep := []string{"--topic-keep", topicKept + "=1000/1h"}
	say("starting a deployment with %d workers", o.workers)
	j.stack, err = stack.Start(ctx, stack.Options{
		Binary: o.binary, APIs: 2, Workers: o.workers, Shards: 2, Replicas: 2,
		APIArgs: keep, FrontArgs: append(keep, "--front-drain-window", "3s"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.stack.Stop(false)) }()
	if j.proxy, err = newProxy(ctx, fmt.Sprintf("127.0.0.1:%d", j.stack.Front.Port())); err != nil {
		return err
	}
	defer j.proxy.close()
	if err = j.depart(ctx); err != nil {
		return err
	}
	err = j.travel(ctx)
	return errors.Join(err, j.arrive())
}

// depart starts the clients and waits until all are open.
func (j *journey) depart(ctx context.Context) error {
	for len(j.all) < j.opts.clients {
		a, err := conformance.StartAgent(ctx, j.opts.command, os.Stderr)
		if err != nil {
			return err
		}
		p := &party{agent: a}
		j.parties = append(j.parties, p)
		for len(p.travelers) < j.opts.per && len(j.all) < j.opts.clients {
			t := &traveler{
				user: fmt.Sprintf("traveler-%d", len(j.all)), heard: make(map[string]int),
				published: make(map[string]bool), ends: make(map[string]int),
			}
			if err := j.start(p, t); err != nil {
				return err
			}
		}
		go p.listen(ctx)
	}
	return j.until(ctx, settle, "all clients are open", func(_ int, t *traveler) bool { return t.state == "open" })
}

func (j *journey) start(p *party, t *traveler) error {
	token, err := clients.Sign(j.stack.Access.Secret(), t.user, jwt.MapClaims{
		"may_join": []string{topicKept}, "may_publish": []string{topicKept},
	})
	if err != nil {
		return err
	}
	err = p.agent.Tell(map[string]any{
		"do": "start", "client": len(p.travelers), "url": "ws://" + j.proxy.addr() + "/ws", "tokens": []string{token},
	})
	p.travelers, j.all = append(p.travelers, t), append(j.all, t)
	if err == nil && j.opts.publish {
		err = p.agent.Tell(map[string]any{"do": "subscribe", "client": len(p.travelers) - 1, "topic": topicKept, "history": true, "as": "s"})
	}
	return err
}

// until waits until something is so for all travelers.
func (j *journey) until(ctx context.Context, within time.Duration, what string, is func(i int, t *traveler) bool) error {
	late := time.Now().Add(within)
	for {
		missing := 0
		for i, t := range j.all {
			t.mu.Lock()
			if !is(i, t) {
				missing++
			}
			t.mu.Unlock()
		}
		switch {
		case missing == 0:
			return nil
		case time.Now().After(late):
			return fmt.Errorf("waited %v until %s: %d are not there", within, what, missing)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// travel makes the load and the trouble, and waits until all has arrived.
func (j *journey) travel(ctx context.Context) error {
	say("%d clients are open; the load begins", len(j.all))
	loading, end := context.WithCancel(ctx)
	var working sync.WaitGroup
	for i := range j.all {
		working.Go(func() { j.post(loading, i) })
	}
	if j.opts.publish {
		working.Go(func() { j.publish(loading) })
	}
	err := j.trouble(ctx)
	end()
	working.Wait()
	if err != nil {
		return err
	}
	say("the load has ended; waiting for what is on its way")
	return j.until(ctx, settle, "all is given", func(i int, t *traveler) bool {
		return t.next >= j.sent[i] && len(t.published) == j.said && (!j.opts.publish || len(t.heard) == j.said*len(j.all))
	})
}

// post sends numbered notifications to one user, one after the other, each until
// it is accepted.
func (j *journey) post(ctx context.Context, i int) {
	urls := j.stack.API.URLs()
	p := load.NewPoster(urls[i%len(urls)], j.stack.Access.Key(), 15*time.Second)
	defer p.Close()
	every := time.Duration(float64(time.Second) / j.opts.rate)
	for n := 0; ctx.Err() == nil; n++ {
		body := fmt.Appendf(nil, `{"users":[%q],"id":"%s-%d","store":"1h","data":{"n":%d}}`, j.all[i].user, j.all[i].user, n, n)
		for {
			if _, err := p.Notify(context.WithoutCancel(ctx), body); err == nil {
				break
			}
			_ = pause(context.WithoutCancel(ctx), 100*time.Millisecond) // and again, under the same id
		}
		j.mu.Lock()
		j.sent[i] = n + 1
		j.mu.Unlock()
		_ = pause(ctx, every/2+rand.N(every)) // the loop sees the end
	}
}

// publish has each client say something every second or so.
func (j *journey) publish(ctx context.Context) {
	for pause(ctx, time.Second) == nil {
		for _, p := range j.parties {
			for k, t := range p.travelers {
				as := fmt.Sprintf("%s/%d", t.user, j.said)
				_ = p.agent.Tell(map[string]any{"do": "publish", "client": k, "topic": topicKept, "data": map[string]any{"said": as}, "as": as}) // an agent that has died is seen
			}
		}
		j.said++
	}
}

// trouble is all that goes wrong, in a random order.
func (j *journey) trouble(ctx context.Context) error {
	var all []func(context.Context) error
	add := func(n int, f func(context.Context) error) {
		for range n {
			all = append(all, f)
		}
	}
	add(j.opts.cuts, j.cut)
	add(j.opts.kills, j.kill)
	add(j.opts.failovers, j.failover)
	add(j.opts.restarts, j.restart)
	rand.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	for _, f := range all {
		if err := pause(ctx, rand.N(1200*time.Millisecond)); err != nil {
			return err
		}
		if err := f(ctx); err != nil {
			return err
		}
	}
	return pause(ctx, aftermath)
}

func (j *journey) cut(ctx context.Context) error {
	for !j.proxy.cut() {
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (j *journey) kill(ctx context.Context) error {
	for {
		pids, err := j.stack.Front.Workers()
		if err != nil {
			return err
		}
		if len(pids) > 0 {
			pid := pids[rand.N(len(pids))]
			say("killing worker %d", pid)
			return syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (j *journey) failover(ctx context.Context) error {
	name := stack.ShardMaster(0)
	master, err := j.stack.Redis.Master(ctx, name)
	if err != nil {
		return err
	}
	say("killing %s, the master of %s", master.Name(), name)
	master.Kill()
	return nil
}

func (j *journey) restart(context.Context) error {
	say("replacing all workers, one by one")
	return j.stack.Front.ReplaceWorkers()
}

// arrive closes the clients, tells what they went through, and what went wrong.
func (j *journey) arrive() error {
	var errs []error
	for _, p := range j.parties {
		errs = append(errs, p.agent.Stop(20*time.Second))
	}
	given, reconnects := 0, 0
	for i, t := range j.all {
		say("%s: %d given of %d sent, %d heard; ends %v; %s", t.user, t.next, j.sent[i], len(t.heard), t.ends, t.path())
		given += t.next
		for _, n := range t.ends {
			reconnects += n
		}
		for _, f := range t.faults {
			errs = append(errs, errors.New(f))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	say("%d notifications given to %d clients, once each and in order, over %d reconnects", given, len(j.all), reconnects)
	return nil
}
