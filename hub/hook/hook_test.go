package hook_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/homing/homing/hub"
	"github.com/homing/homing/hub/hook"
	"github.com/homing/homing/redisx/redisproc"
	"github.com/homing/homing/redisx/redistest"
)

// TestDelivered: events of many subjects come once each, signed, in order. Nothing
// is left in Redis but the books.
func TestDelivered(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	p.sender()
	const subjects, each = 40, 25
	for n := 1; n <= each; n++ {
		for s := range subjects {
			publish(t, pub, fmt.Sprint("room-", s), n)
		}
	}
	within(t, 20*time.Second, "all are delivered", func() bool { return b.distinct() == subjects*each })
	b.ordered()
	if taken, _ := b.count(); taken != subjects*each {
		t.Errorf("%d deliveries of %d events", taken, subjects*each)
	}
	if n := p.metric("homing_hook_published_total"); n != subjects*each {
		t.Errorf("%v are counted as published", n)
	}
	p.drained()
}

// drained waits until no stream holds anything, by its length and by its book.
func (p *process) drained() {
	p.t.Helper()
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		p.t.Fatal(err)
	}
	within(p.t, 10*time.Second, "the streams are empty", func() bool {
		for n := range hook.Partitions {
			held := c.HGet(p.t.Context(), p.hookKeys().Book(n), "bytes").Val()
			if c.XLen(p.t.Context(), p.stream(n)).Val() != 0 || held != "" && held != "0" {
				return false
			}
		}
		return true
	})
}

// TestAFailingSubjectHoldsBackItself: while one subject's event fails, others of
// its partition are delivered, and its own later ones wait.
func TestAFailingSubjectHoldsBackItself(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	var open atomic.Bool
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.subject == "bad" && e.n == 2 && !open.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	pub := p.publisher()
	p.sender()
	near := neighbors("bad", 5)
	for n := 1; n <= 5; n++ {
		publish(t, pub, "bad", n)
		for _, s := range near {
			publish(t, pub, s, n)
		}
	}
	within(t, 10*time.Second, "its neighbors have theirs", func() bool {
		return !slices.ContainsFunc(near, func(s string) bool { return len(b.has(s)) < 5 })
	})
	within(t, 10*time.Second, "it is tried again and again", func() bool { _, tries := b.count(); return tries >= 30 })
	if has := b.has("bad"); !slices.Equal(has, []int{1}) {
		t.Errorf("of the failing subject came %v, want 1", has)
	}
	if n := p.metric("homing_hook_held_subjects"); n > 1 {
		t.Errorf("%v subjects are held", n)
	}
	open.Store(true)
	within(t, 10*time.Second, "the rest came", func() bool { return slices.Equal(b.has("bad"), []int{1, 2, 3, 4, 5}) })
	b.ordered()
	p.drained()
}

// TestASenderIsKilledBetweenDeliveryAndRemoval kills one process when the backend
// has taken an event: another delivers it again, and all that follow, once.
func TestASenderIsKilledBetweenDeliveryAndRemoval(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	first := p.senderProcess()
	var killed atomic.Bool
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.n == 3 && !killed.Swap(true) {
			kill(t, first) // it has handed the event over, and reads no answer
		}
		return http.StatusOK
	})
	for n := 1; n <= 6; n++ {
		publish(t, pub, "room", n)
	}
	within(t, 10*time.Second, "the first is killed", killed.Load)
	p.sender()
	within(t, 10*time.Second, "another goes on", func() bool { return len(b.has("room")) >= 7 })
	if has := b.has("room"); !slices.Equal(has, []int{1, 2, 3, 3, 4, 5, 6}) {
		t.Errorf("came %v", has)
	}
	p.drained()
}

// TestASenderWakesUpLate stops a process that is about to learn that an event was
// taken. Another takes over and goes on; the first wakes up, and nothing is skipped.
func TestASenderWakesUpLate(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	first := p.senderProcess()
	var stopped atomic.Bool
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.n == 3 && !stopped.Swap(true) {
			if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
		}
		return http.StatusOK
	})
	for n := 1; n <= 6; n++ {
		publish(t, pub, "room", n)
	}
	within(t, 10*time.Second, "the first stands still", stopped.Load)
	p.sender()
	within(t, 10*time.Second, "another goes on", func() bool { return slices.Contains(b.has("room"), 6) })
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for n := 7; n <= 200; n++ {
		publish(t, pub, "room", n)
	}
	within(t, 20*time.Second, "all came", func() bool { return b.distinct() == 200 })
	b.ordered()
	if taken, _ := b.count(); taken > 210 {
		t.Errorf("%d deliveries of 200 events", taken)
	}
	p.drained()
}

// TestTwoSendersShare: each has half of the partitions, and nothing is delivered
// twice; when one closes, the other has all at once.
func TestTwoSendersShare(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	one, _ := p.sender()
	within(t, 5*time.Second, "one has all", func() bool { return p.metric("homing_hook_partitions") == hook.Partitions })
	q := p.another()
	q.sender()
	const events = 2000
	for n := range events {
		publish(t, pub, fmt.Sprint("room-", n%50), n/50+1)
	}
	within(t, 5*time.Second, "each has half", func() bool {
		return p.metric("homing_hook_partitions") == hook.Partitions/2 && q.metric("homing_hook_partitions") == hook.Partitions/2
	})
	within(t, 20*time.Second, "all came", func() bool { return b.distinct() == events })
	b.ordered()
	if taken, _ := b.count(); taken != events {
		t.Errorf("%d deliveries of %d events", taken, events)
	}
	begun := time.Now()
	if err := one.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, "the other has all", func() bool { return q.metric("homing_hook_partitions") == hook.Partitions })
	if took := time.Since(begun); took > lease {
		t.Errorf("the other has waited for %v: leases were not given back", took)
	}
	publish(t, pub, "last", 1)
	within(t, 5*time.Second, "it is delivered", func() bool { return len(b.has("last")) == 1 })
}

// TestTheBackendIsDownForAWhile: what is published meanwhile comes afterwards, in
// order, soon after the backend is back.
func TestTheBackendIsDownForAWhile(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	p.sender()
	const subjects, each = 300, 5
	for n := 1; n <= each; n++ {
		if n == 2 {
			within(t, 10*time.Second, "the first came", func() bool { return b.distinct() == subjects })
			b.close()
		}
		for s := range subjects {
			publish(t, pub, fmt.Sprint("room-", s), n)
		}
	}
	within(t, 10*time.Second, "it is tried", func() bool { return p.metric("homing_hook_requests_total", "failed") > 100 })
	if n := p.metric("homing_hook_oldest_seconds"); n > 60 {
		t.Errorf("the oldest is %v s old", n)
	}
	b.listen(b.addr)
	within(t, 20*time.Second, "all came", func() bool { return b.distinct() == subjects*each })
	b.ordered()
	p.drained()
}

// TestTheBackendIsBack: the first event that it takes after many failures has the
// others tried again at once, and not when their pauses are over.
func TestTheBackendIsBack(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	var open atomic.Bool
	b.answers(func(http.ResponseWriter, *http.Request, got) int {
		if open.Load() {
			return http.StatusOK
		}
		return http.StatusServiceUnavailable
	})
	pub := p.publisher()
	p.sender((*hook.Sender).Patient)
	bad := neighbors("first", 20)
	for _, s := range bad {
		publish(t, pub, s, 1)
	}
	within(t, 10*time.Second, "all have failed", func() bool { return p.metric("homing_hook_requests_total", "failed") == 20 })
	open.Store(true)
	publish(t, pub, "first", 1)
	within(t, 5*time.Second, "all came", func() bool { return b.distinct() == 21 })
}

// TestTooManySubjectsFail: beyond the bound nothing further of the partition is
// tried; other partitions go on.
func TestTooManySubjectsFail(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	bad := neighbors("bad", 3*hook.Hold)
	good := others("bad", 50)
	var open atomic.Bool
	var tried texts
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if hook.PartitionOf(e.subject) == hook.PartitionOf("bad") && !open.Load() {
			tried.add(e.subject)
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	pub := p.publisher()
	p.sender()
	for _, s := range bad {
		publish(t, pub, s, 1)
	}
	within(t, 10*time.Second, "as many as may are held", func() bool { return p.metric("homing_hook_held_subjects") >= hook.Hold/2 })
	for _, s := range good {
		publish(t, pub, s, 1)
	}
	within(t, 10*time.Second, "other partitions go on", func() bool { n, _ := b.count(); return n == len(good) })
	time.Sleep(time.Second)
	if n := tried.len(); n > hook.Hold || n < hook.Hold/2 {
		t.Errorf("%d subjects were tried, want %d at most", n, hook.Hold)
	}
	open.Store(true)
	within(t, 10*time.Second, "all came", func() bool { return b.distinct() == len(good)+len(bad) })
}

// TestASlowBackend: requests are bounded in number and in time, and the slow
// subject holds up no other.
func TestASlowBackend(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.Parallel, p.ecfg.Timeout = 4, 300*time.Millisecond
	var open atomic.Bool
	b.answers(func(_ http.ResponseWriter, r *http.Request, e got) int {
		if e.subject == "slow" && !open.Load() {
			<-r.Context().Done()
			return http.StatusGatewayTimeout
		}
		time.Sleep(2 * time.Millisecond)
		return http.StatusOK
	})
	pub := p.publisher()
	p.sender()
	near := neighbors("slow", 20)
	for n := 1; n <= 10; n++ {
		publish(t, pub, "slow", n)
		for _, s := range near {
			publish(t, pub, s, n)
		}
	}
	within(t, 10*time.Second, "the others came", func() bool { return b.distinct() == 10*len(near) })
	b.mu.Lock()
	most := b.most
	b.mu.Unlock()
	if most > 4+1 { // one that the sender has broken off may not have ended here
		t.Errorf("%d requests at once", most)
	}
	open.Store(true)
	within(t, 10*time.Second, "the slow came", func() bool { return len(b.has("slow")) == 10 })
	b.ordered()
}

// TestHugeEvents: one that is as large as may be is delivered, a larger one is
// refused, counted, and holds up nothing.
func TestHugeEvents(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	pub := p.publisher()
	p.sender()
	huge := func(n, size int) hook.Event {
		return hook.Event{Type: "room.ended", Subject: "room", Data: data{Subject: "room", N: n, Pad: strings.Repeat("x", size)}}
	}
	if !pub.Publish(huge(1, hook.MaxBody-200)) {
		t.Error("the largest event is refused")
	}
	if pub.Publish(huge(2, hook.MaxBody)) {
		t.Error("an event that is too large is taken")
	}
	publish(t, pub, "room", 3)
	within(t, 10*time.Second, "both came", func() bool { return slices.Equal(b.has("room"), []int{1, 3}) })
	if n := p.metric("homing_hook_lost_total", "too_large"); n != 1 {
		t.Errorf("%v are counted as too large", n)
	}
}

// TestWhatIsNoEvent is refused and counted.
func TestWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	p, _ := alone(t)
	pub := p.publisher()
	bad := []hook.Event{
		{Subject: "room"},
		{Type: "room ended", Subject: "room"},
		{Type: "room.ended"},
		{Type: "room.ended", Subject: strings.Repeat("r", hook.MaxSubject+1)},
		{Type: "room.ended", Subject: "room", ID: "a.b"},
		{Type: "room.ended", Subject: "room", Data: make(chan int)},
	}
	for _, e := range bad {
		if pub.Publish(e) {
			t.Errorf("%+v is taken", e)
		}
	}
	if n := p.metric("homing_hook_lost_total", "invalid"); int(n) != len(bad) {
		t.Errorf("%v are counted as invalid", n)
	}
}

// TestTenTimesTooMany: a backend that takes nothing costs Redis no more than the
// bound, and the newest are kept.
func TestTenTimesTooMany(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.StreamBytes = hook.MinStreamBytes
	var open atomic.Bool
	b.answers(func(http.ResponseWriter, *http.Request, got) int {
		if open.Load() {
			return http.StatusOK
		}
		return http.StatusBadGateway
	})
	pub := p.publisher()
	p.sender()
	const subjects, size = 64, 8 << 10
	events := 10 * p.scfg.StreamBytes / size
	pad := strings.Repeat("x", size-300)
	for i := range events {
		s := fmt.Sprint("room-", i%subjects)
		for !pub.Publish(hook.Event{Type: "room.ended", Subject: s, Data: data{Subject: s, N: i/subjects + 1, Pad: pad}}) {
			time.Sleep(time.Millisecond) // the queue is full: not what this is about
		}
	}
	flush(t, pub)
	if n := p.metric("homing_hook_lost_total", "stream_full"); int(n) < events*8/10 || int(n) > events*95/100 {
		t.Errorf("%v of %d events are counted as given up", n, events)
	}
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	var held int64
	for n := range hook.Partitions {
		held += c.MemoryUsage(t.Context(), p.stream(n)).Val()
	}
	if most := int64(p.scfg.StreamBytes) * 5 / 4; held > most || held < most/4 {
		t.Errorf("the streams take %d bytes, want %d at most", held, most)
	}
	open.Store(true)
	last := events/subjects - 1
	within(t, 30*time.Second, "the newest of all subjects came", func() bool {
		for s := range subjects {
			if !slices.Contains(b.has(fmt.Sprint("room-", s)), last) {
				return false
			}
		}
		return true
	})
	b.ordered()
	p.drained()
}

// TestRedisIsAway: what is published meanwhile waits within the bound, what is
// beyond it is refused and counted, and what was taken is delivered.
func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	server := redistest.Process(t, redisproc.ServerOptions{})
	p := newProcess(t, redistest.Config(t, "redis://"+server.Addr()), b)
	p.cfg.QueueBytes = hook.MinQueueBytes
	pub := p.publisher()
	p.sender()
	publish(t, pub, "room", 1)
	within(t, 10*time.Second, "the first came", func() bool { return len(b.has("room")) == 1 })
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	taken, refused := 1, 0
	for n := 2; refused < 100 && n < 50_000; n++ {
		if pub.Publish(event("room", n)) {
			if refused > 0 {
				break // Redis has taken some of them
			}
			taken++
		} else {
			refused++
		}
	}
	if n := p.metric("homing_hook_lost_total", "queue_full"); int(n) != refused || refused < 100 {
		t.Errorf("%v are counted as lost, of %d", n, refused)
	}
	if n := p.metric("homing_hook_queue_bytes"); n > hook.MinQueueBytes || n < hook.MinQueueBytes/2 {
		t.Errorf("%v bytes wait", n)
	}
	if err := server.Cont(); err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "all that were taken came", func() bool { return b.distinct() == taken }) // one after the other
	b.ordered()
	if n := p.metric("homing_hook_queue_bytes"); n != 0 {
		t.Errorf("%v bytes wait", n)
	}
}

// TestAnEventIsTooOld: it is given up and counted, and those after it go on.
func TestAnEventIsTooOld(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	p.scfg.MaxAge = time.Second
	b.answers(func(_ http.ResponseWriter, _ *http.Request, e got) int {
		if e.n == 2 {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	pub := p.publisher()
	p.sender()
	publish(t, pub, "room", 1)
	publish(t, pub, "room", 2)
	time.Sleep(700 * time.Millisecond)
	publish(t, pub, "room", 3)
	within(t, 10*time.Second, "the next came", func() bool { return slices.Equal(b.has("room"), []int{1, 3}) })
	if n := p.metric("homing_hook_given_up_total", "expired"); n != 1 {
		t.Errorf("%v are counted as too old", n)
	}
	p.drained()
}

// TestClocks: an event is too old when both clocks say so, that of who published it and
// that of Redis; one that jumps has nothing given up.
func TestClocks(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	c, err := p.r.Inbox.Lead().Master()
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-48 * time.Hour)
	for i, e := range []struct {
		entry     string
		published time.Time
	}{
		{"*", long}, // the publisher's clock was behind
		{fmt.Sprint(long.UnixMilli()), time.Now()}, // Redis' clock was
		{fmt.Sprint(long.UnixMilli()), long},       // it is old
		{"*", time.Now().Add(48 * time.Hour)},      // the publisher's clock was ahead
	} {
		s := inPartition(i)
		body := fmt.Sprintf(`{"type":"room.ended","timestamp":"2026-01-01T00:00:00Z","data":{"subject":%q,"n":1}}`, s)
		values := []any{"i", fmt.Sprint("e", i), "s", s, "k", "room.ended", "t", e.published.UnixMilli(), "b", body}
		if err := c.XAdd(t.Context(), &redis.XAddArgs{Stream: p.stream(i), ID: e.entry, Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	p.sender()
	within(t, 10*time.Second, "nothing is left", func() bool { return p.left() == 0 })
	if taken, _ := b.count(); taken != 3 || len(b.has(inPartition(2))) != 0 {
		t.Errorf("%d came, want all but the old one", taken)
	}
	if n := p.metric("homing_hook_given_up_total", "expired"); n != 1 {
		t.Errorf("%v are counted as too old", n)
	}
}

// TestTheBackendIsGone: after 410 nothing is sent, what waits stays, and the Sender
// says so. A new one tries again.
func TestTheBackendIsGone(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	var gone atomic.Bool
	gone.Store(true)
	b.answers(func(http.ResponseWriter, *http.Request, got) int {
		if gone.Load() {
			return http.StatusGone
		}
		return http.StatusOK
	})
	pub := p.publisher()
	s, _ := p.sender()
	if d := s.Degraded(); d != nil {
		t.Errorf("degraded before: %v", d)
	}
	publish(t, pub, "room", 1)
	within(t, 10*time.Second, "it has stopped", func() bool { return p.metric("homing_hook_gone") == 1 && p.metric("homing_hook_partitions") == 0 })
	if d := s.Degraded(); len(d) != 1 || !strings.Contains(d[0], "410") {
		t.Errorf("degraded: %v", d)
	}
	_, before := b.count()
	for n := 2; n <= 5; n++ {
		publish(t, pub, "room", n)
	}
	time.Sleep(lease)
	if _, tries := b.count(); tries != before {
		t.Errorf("%d tries after 410", tries-before)
	}
	gone.Store(false)
	p.another().sender()
	within(t, 10*time.Second, "another sends all", func() bool { return slices.Equal(b.has("room"), []int{1, 2, 3, 4, 5}) })
}

// TestTheBackendAsksToWait: Retry-After is respected.
func TestTheBackendAsksToWait(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	var first atomic.Int64
	b.answers(func(w http.ResponseWriter, _ *http.Request, e got) int {
		if first.CompareAndSwap(0, e.at.UnixNano()) {
			w.Header().Set("Retry-After", "2")
			return http.StatusTooManyRequests
		}
		return http.StatusOK
	})
	pub := p.publisher()
	p.sender()
	publish(t, pub, "room", 1)
	within(t, 10*time.Second, "it came", func() bool { return len(b.has("room")) == 1 })
	if waited := b.taken[0].at.Sub(time.Unix(0, first.Load())); waited < 2*time.Second || waited > 4*time.Second {
		t.Errorf("tried again after %v, want 2s", waited)
	}
}

// TestUnwantedEvents: what no endpoint wants is not published, and what was published
// before an endpoint wanted less is not sent.
func TestUnwantedEvents(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	all := p.publisher()
	created := hook.Event{Type: "room.created", Subject: "room", Data: data{Subject: "room", N: 1}}
	if !all.Publish(created) {
		t.Error("lost")
	}
	flush(t, all)
	q := p.another()
	q.has = []hook.Target{{Name: hook.DefaultName, Events: []string{"match.*", "room.ended"}}}
	p.list.Have(q.targets())
	q.sender()
	few := q.publisher()
	if !few.Publish(created) || !all.Publish(created) || few.Wants("room.created") || !few.Wants("match.found") {
		t.Error("an unwanted event counts as lost, or as wanted")
	}
	publish(t, all, "room", 2)
	within(t, 10*time.Second, "the wanted one came", func() bool { return slices.Equal(b.has("room"), []int{2}) })
	if a, n := q.metric("homing_hook_unwanted_total"), q.metric("homing_hook_published_total"); a != 1 || n != 0 {
		t.Errorf("%v unwanted, %v published; want 1 and none", a, n)
	}
	p.drained()
}

// TestTheSameEventTwice: an event with an id of its own that is published twice by
// two processes has that id.
func TestTheSameEventTwice(t *testing.T) {
	t.Parallel()
	p, b := alone(t)
	e := event("m1", 1)
	e.Type, e.ID = "match.found", "match.found"
	if p.publisher().Publish(e) {
		t.Fatal("an id with a dot is taken")
	}
	e.ID = "m1:found"
	q := p.another()
	for _, pub := range []*hook.Publisher{q.publisher(), p.another().publisher()} {
		if !pub.Publish(e) {
			t.Error("lost")
		}
		flush(t, pub)
	}
	q.sender()
	within(t, 10*time.Second, "it came", func() bool { n, _ := b.count(); return n > 0 })
	p.drained()
	if n, _ := b.count(); n != 1 || b.taken[0].id != "m1:found" {
		t.Errorf("%d deliveries, the first of %s", n, b.taken[0].id)
	}
}

// TestWithoutHooks: a Publisher that is off takes everything and costs nothing.
func TestWithoutHooks(t *testing.T) {
	p := hook.NewPublisher(hook.Config{}, nil, nil, hub.NewKeys(""), nil, nil)
	if p != nil || !p.Publish(event("room", 1)) || p.Run(t.Context()) != nil || p.Flush(t.Context()) != nil {
		t.Error("a Publisher that is off does something")
	}
	if n := testing.AllocsPerRun(100, func() { p.Publish(hook.Event{Type: "room.ended", Subject: "room"}) }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}
