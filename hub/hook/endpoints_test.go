package hook_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/homing/homing/hub/hook"
)

// two are processes on one Redis that send to one endpoint each, of two that have
// the names and filters given.
func two(t *testing.T, one, other hook.Target) (p, q *process, pb, qb *backend) {
	t.Helper()
	p, pb = alone(t)
	qb = newBackend(t)
	p.has = []hook.Target{one, other}
	p.name = one.Name
	q = p.another()
	q.name, q.ecfg.URL, q.ecfg.SecretFile = other.Name, qb.url, qb.file
	return p, q, pb, qb
}

func all(name string) hook.Target { return hook.Target{Name: name, Events: []string{"*"}} }

// TestEndpoints: each gets the events that it wants, signed with its own secret, in
// order.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	p, q, pb, qb := two(t, all(hook.DefaultName), hook.Target{Name: "push", Events: []string{"room.*"}})
	pub := p.publisher()
	p.sender()
	q.sender()
	for n := 1; n <= 20; n++ {
		publish(t, pub, "room-1", n)
		e := event("match-1", n)
		e.Type = "match.found"
		if !pub.Publish(e) {
			t.Fatal("lost")
		}
	}
	within(t, 20*time.Second, "one has all", func() bool { return pb.distinct() == 40 })
	within(t, 20*time.Second, "the other has what it wants", func() bool { return len(qb.has("room-1")) == 20 })
	if has := qb.has("match-1"); len(has) != 0 {
		t.Errorf("an endpoint that does not want them has %d events", len(has))
	}
	if n := p.metric("homing_hook_published_total"); n != 60 {
		t.Errorf("%v events were written, want 40 for one and 20 for the other", n)
	}
	pb.ordered()
	qb.ordered()
	p.drained()
	q.drained()
}

// TestAnEndpointThatIsAwayHarmsNoOther: one answers nothing, with 410, or fills its
// streams; the other gets every event.
func TestAnEndpointThatIsAwayHarmsNoOther(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, e got) int{
		"never answers": func(_ http.ResponseWriter, r *http.Request, _ got) int {
			<-r.Context().Done()
			return http.StatusGatewayTimeout
		},
		"refuses": func(http.ResponseWriter, *http.Request, got) int { return http.StatusInternalServerError },
		"is gone": func(http.ResponseWriter, *http.Request, got) int { return http.StatusGone },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, q, pb, qb := two(t, all("good"), all("bad"))
			q.ecfg.Timeout = 200 * time.Millisecond
			qb.answers(answer)
			p.scfg.StreamBytes = hook.MinStreamBytes
			pub := p.publisher()
			p.sender()
			q.sender()
			const events, size = 900, 16 << 10
			pad := strings.Repeat("x", size)
			for n := 1; n <= events; n++ {
				s := fmt.Sprint("room-", n%50)
				if !pub.Publish(hook.Event{Type: "room.ended", Subject: s, Data: data{Subject: s, N: n, Pad: pad}}) {
					t.Fatal("an event is lost")
				}
				if n%100 == 0 { // what it may have in its own streams is not what this is about
					within(t, 30*time.Second, "the other keeps up", func() bool { return pb.distinct() == n })
				}
			}
			pb.ordered()
			p.drained()
			if n := p.metric("homing_hook_lost_total", "bad"); n < events/10 {
				t.Errorf("%v events were given up: the bad endpoint's streams were not full", n)
			}
			if n := p.metric("homing_hook_lost_total", "good"); n != 0 {
				t.Errorf("%v events were given up for the good endpoint", n)
			}
		})
	}
}

// TestAnEndpointWithABrokenStream: what Redis will never take for one endpoint is
// written for the other.
func TestAnEndpointWithABrokenStream(t *testing.T) {
	t.Parallel()
	p, q, pb, _ := two(t, all("good"), all("bad"))
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Set(t.Context(), q.stream(hook.PartitionOf("room")), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	pub := p.publisher()
	p.sender()
	for n := 1; n <= 10; n++ {
		publish(t, pub, "room", n)
	}
	within(t, 10*time.Second, "the other has all", func() bool { return len(pb.has("room")) == 10 })
	flush(t, pub)
	if good, bad := p.metric("homing_hook_lost_total", "good"), p.metric("homing_hook_lost_total", "bad"); good != 0 || bad != 10 {
		t.Errorf("%v and %v are counted as refused", good, bad)
	}
}

// TestBatches: an endpoint that asks for batches gets several events in one request,
// each event once and in order.
func TestBatches(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.Batch = hook.MaxBatch
	pub := p.publisher()
	const subjects, each = 30, 40
	for n := 1; n <= each; n++ {
		for s := range subjects {
			publish(t, pub, fmt.Sprint("room-", s), n)
		}
	}
	flush(t, pub)
	p.sender()
	within(t, 20*time.Second, "all are delivered", func() bool { return b.distinct() == subjects*each })
	b.ordered()
	p.drained()
	if taken, tries := b.count(); taken != subjects*each || tries > taken/10 {
		t.Errorf("%d deliveries of %d events, in %d requests", taken, subjects*each, tries)
	}
	if most := slices.Max(b.sizes); most > hook.MaxBatch || most < hook.MaxBatch/2 {
		t.Errorf("the largest batch has %d events, want up to %d", most, hook.MaxBatch)
	}
}

// TestABatchThatFailsIsDivided: an event that is never taken holds up its subject
// alone in the end, and the order of every subject is kept.
func TestABatchThatFailsIsDivided(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.Batch = hook.MaxBatch
	var open atomic.Bool
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.subject == "bad" && e.n == 3 && !open.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	pub := p.publisher()
	near := neighbors("bad", 20)
	for n := 1; n <= 5; n++ {
		for _, s := range append([]string{"bad"}, near...) {
			publish(t, pub, s, n)
		}
	}
	flush(t, pub)
	p.sender()
	within(t, 30*time.Second, "the others came", func() bool {
		return !slices.ContainsFunc(near, func(s string) bool { return len(b.has(s)) < 5 })
	})
	within(t, 30*time.Second, "what is before it came", func() bool { return slices.Equal(b.has("bad"), []int{1, 2}) })
	open.Store(true)
	within(t, 30*time.Second, "the rest came", func() bool { return slices.Equal(b.has("bad"), []int{1, 2, 3, 4, 5}) })
	b.ordered()
	p.drained()
}

// TestABatchIsBounded in bytes, too.
func TestABatchIsBounded(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.Batch = hook.MaxBatch
	pub := p.publisher()
	pad := strings.Repeat("x", 200<<10)
	for n := 1; n <= 20; n++ {
		for !pub.Publish(hook.Event{Type: "room.ended", Subject: "room", Data: data{Subject: "room", N: n, Pad: pad}}) {
			time.Sleep(time.Millisecond)
		}
	}
	flush(t, pub)
	p.sender()
	within(t, 20*time.Second, "all are delivered", func() bool { return b.distinct() == 20 })
	b.ordered()
	if most := slices.Max(b.sizes); most > hook.MaxParcel/(200<<10) || most < 2 {
		t.Errorf("a batch has %d events of 200 KiB", most)
	}
}

// TestABatchIsTakenOver: a sender is killed when the backend has taken a batch;
// another delivers it again, and what follows once.
func TestABatchIsTakenOver(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.Batch = 4
	pub := p.publisher()
	for n := 1; n <= 12; n++ {
		publish(t, pub, "room", n)
	}
	flush(t, pub)
	var killed atomic.Bool
	first, ready := make(chan *exec.Cmd, 1), make(chan struct{})
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.n == 8 && !killed.Swap(true) {
			kill(t, <-first)
			close(ready)
		}
		return http.StatusOK
	})
	first <- p.senderProcess()
	<-ready
	p.sender()
	within(t, 10*time.Second, "another goes on", func() bool { return b.distinct() == 12 })
	b.ordered()
	if has := b.has("room"); len(has) != 16 {
		t.Errorf("came %v, want one batch twice", has)
	}
	p.drained()
}

// board is how it stands with the endpoint of p, as another process sees it.
func (p *process) board() *hook.Status {
	p.t.Helper()
	q := p.another()
	all, err := hook.NewBoard(q.r, q.keys).Status(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range all {
		if all[i].Endpoint == p.name {
			return &all[i]
		}
	}
	return &hook.Status{}
}

// TestStatus: a process that knows no endpoint says how it stands with all.
func TestStatus(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.has = []hook.Target{all("push")}
	p.name = "push"
	var status atomic.Int64
	status.Store(http.StatusServiceUnavailable)
	b.answers(func(http.ResponseWriter, *http.Request, got) int { return int(status.Load()) })
	pub := p.publisher()
	s, _ := p.sender()
	publish(t, pub, "room-1", 1)
	publish(t, pub, "room-2", 1)
	until := func(what string, ok func(s *hook.Status) bool) {
		t.Helper()
		var last *hook.Status
		defer func() {
			if t.Failed() {
				t.Logf("last: %+v", last)
			}
		}()
		within(t, 10*time.Second, what, func() bool { last = p.board(); return ok(last) })
	}
	until("it backs off", func(s *hook.Status) bool {
		return s.State == hook.BackingOff && s.Events == 2 && s.Bytes > 200 && s.Senders == 1 && !s.Oldest.IsZero() &&
			strings.HasPrefix(s.LastError, "503") && !s.LastFailure.IsZero() && s.LastSuccess.IsZero()
	})
	status.Store(http.StatusOK)
	until("it sends", func(s *hook.Status) bool {
		return s.State == hook.Sending && s.Events == 0 && s.Bytes == 0 && s.Oldest.IsZero() && !s.LastSuccess.IsZero()
	})
	status.Store(http.StatusGone)
	publish(t, pub, "room-1", 2)
	until("it is gone", func(s *hook.Status) bool { return s.State == hook.IsGone && s.Events == 1 })
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	status.Store(http.StatusOK)
	_, stop := p.another().sender()
	until("it is back", func(s *hook.Status) bool { return s.State == hook.Sending && s.Events == 0 })
	stop()
	until("nobody sends", func(s *hook.Status) bool { return s.State == hook.Unattended && s.Senders == 0 })
}

// TestStatusCountsWhatIsGivenUp: events that are too old, and those that had no
// place.
func TestStatusCountsWhatIsGivenUp(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	b.answers(func(http.ResponseWriter, *http.Request, got) int { return http.StatusInternalServerError })
	p.scfg.StreamBytes, p.scfg.MaxAge = hook.MinStreamBytes, time.Second
	pub := p.publisher()
	pad := strings.Repeat("x", 200<<10)
	for n := 1; n <= 6; n++ {
		for !pub.Publish(hook.Event{Type: "room.ended", Subject: "room", Data: data{Subject: "room", N: n, Pad: pad}}) {
			time.Sleep(time.Millisecond)
		}
	}
	flush(t, pub)
	full := p.metric("homing_hook_lost_total", "stream_full")
	p.sender()
	within(t, 20*time.Second, "the rest is given up", func() bool { return p.metric("homing_hook_given_up_total", "expired") == 6-full })
	s := p.board()
	if s.StreamFull != int64(full) || full == 0 || s.Expired != 6-int64(full) {
		t.Errorf("%+v; %v were counted as without a place", s, full)
	}
}
