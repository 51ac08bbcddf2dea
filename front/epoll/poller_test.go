package epoll

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPoller(tb testing.TB) *Poller {
	tb.Helper()
	p, err := New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { must(tb, p.Close()) })
	return p
}

// pair returns two connected descriptors that are closed with the test.
func pair(tb testing.TB) (a, b int) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

// waitOne returns the only event of one Wait.
func waitOne(t *testing.T, p *Poller) Event {
	t.Helper()
	var events [8]Event
	n, err := p.Wait(events[:], in(5*time.Second))
	if err != nil || n != 1 {
		t.Fatalf("Wait: %d events, %v; want one", n, err)
	}
	return events[0]
}

func TestTokenHoldsDescriptorAndGeneration(t *testing.T) {
	for _, fd := range []int{0, 1, 1 << 20, 1<<31 - 1} {
		for _, gen := range []uint32{0, 1, 1<<32 - 1} {
			if tok := MakeToken(fd, gen); tok.FD() != fd || tok.Generation() != gen || tok == wakeToken {
				t.Errorf("MakeToken(%d, %d): got %d, %d", fd, gen, tok.FD(), tok.Generation())
			}
		}
	}
}

func TestEventsSayWhatIsReady(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	tok := MakeToken(a, 7)
	must(t, p.Add(a, tok, ForRead))

	_, err := Write(b, []byte("x"))
	must(t, err)
	if ev := waitOne(t, p); ev != (Event{Token: tok, Readable: true}) {
		t.Errorf("after a byte: %+v", ev)
	}
	if ev := waitOne(t, p); !ev.Readable {
		t.Errorf("not read yet, so it repeats: %+v", ev)
	}
	if n, err := Read(a, make([]byte, 8)); n != 1 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}

	must(t, p.Modify(a, tok, ForRead|ForWrite))
	if ev := waitOne(t, p); ev != (Event{Token: tok, Writable: true}) {
		t.Errorf("with room to write: %+v", ev)
	}
	must(t, p.Modify(a, tok, ForRead))
	must(t, CloseWrite(b))
	if ev := waitOne(t, p); ev != (Event{Token: tok, Readable: true}) {
		t.Errorf("after a half-close: %+v", ev)
	}
	must(t, unix.Shutdown(a, unix.SHUT_RDWR))
	if ev := waitOne(t, p); !ev.Hangup {
		t.Errorf("after both sides ended: %+v", ev)
	}
	must(t, p.Remove(a))
	var events [1]Event
	if n, err := p.Wait(events[:], in(time.Millisecond)); n != 0 || err != nil {
		t.Errorf("after Remove: %d events, %v", n, err)
	}
}

func TestWriteInterestFiresWhenAFullPeerDrains(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	chunk := make([]byte, 64<<10)
	var total int
	for {
		n, err := Write(a, chunk)
		if errors.Is(err, ErrWouldBlock) {
			break
		}
		must(t, err)
		total += n
	}
	must(t, p.Add(a, MakeToken(a, 0), ForWrite))
	var events [1]Event
	if n, _ := p.Wait(events[:], in(5*time.Millisecond)); n != 0 {
		t.Fatalf("a full socket is not writable: %+v", events[0])
	}
	go func() {
		for total > 0 {
			n, err := Read(b, chunk)
			if err != nil && !errors.Is(err, ErrWouldBlock) {
				return
			}
			total -= n
		}
	}()
	if ev := waitOne(t, p); !ev.Writable {
		t.Errorf("drained: %+v", ev)
	}
}

// TestGenerationTellsAStaleEvent reuses a descriptor between the Wait that
// returned its event and the look at it.
func TestGenerationTellsAStaleEvent(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	must(t, p.Add(a, MakeToken(a, 1), ForRead))
	_, err := Write(b, []byte("x"))
	must(t, err)
	stale := waitOne(t, p)

	c, d := pair(t)
	must(t, unix.Dup3(c, a, unix.O_CLOEXEC)) // a is another connection now
	must(t, p.Add(a, MakeToken(a, 2), ForRead))
	_, err = Write(d, []byte("y"))
	must(t, err)
	fresh := waitOne(t, p)
	if stale.Token.FD() != fresh.Token.FD() || stale.Token.Generation() == fresh.Token.Generation() {
		t.Errorf("stale %v, fresh %v: want the same descriptor, another generation", stale.Token, fresh.Token)
	}
}

func TestWaitKeepsItsDeadline(t *testing.T) {
	p := newPoller(t)
	var events [4]Event
	for _, d := range []time.Duration{20 * time.Millisecond, 0, -time.Second} {
		start := time.Now()
		n, err := p.Wait(events[:], start.Add(d))
		if took := time.Since(start); n != 0 || err != nil || took < d || took > d+2*time.Second {
			t.Errorf("deadline in %v: %d events, %v, after %v", d, n, err, took)
		}
	}
	a, b := pair(t)
	must(t, p.Add(a, MakeToken(a, 0), ForRead))
	_, err := Write(b, []byte("x"))
	must(t, err)
	for range 2 {
		if n, err := p.Wait(events[:], in(-time.Second)); n != 1 || err != nil {
			t.Errorf("a deadline that has passed still reports what is ready: %d events, %v", n, err)
		}
	}
	if _, err := p.Wait(nil, time.Time{}); err == nil {
		t.Error("Wait without room for events: want an error")
	}
}

func TestErrorsNameTheDescriptor(t *testing.T) {
	p := newPoller(t)
	err := p.Add(1<<30, 0, ForRead)
	if !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "epoll_ctl add of descriptor 1073741824") {
		t.Errorf("got %v", err)
	}
}

// TestNoWakeIsLost hands the owner one piece of work at a time, each at another
// moment of its way from being parked through an idle wake to being parked
// again: a lost wake would leave it waiting.
func TestNoWakeIsLost(t *testing.T) {
	const rounds = 20_000
	p := newPoller(t)
	work, seen := make(chan int, 1), make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range rounds {
			p.Wake()
			for range i % 5000 { // up to some 20 microseconds
				spin.Add(1)
			}
			work <- i
			p.Wake()
			<-seen
		}
	})
	var events [4]Event
	for done := 0; done < rounds; {
		n, err := p.Wait(events[:], in(10*time.Second))
		if err != nil || n != 0 {
			t.Fatalf("Wait: %d events, %v", n, err)
		}
		select {
		case <-work:
			done++
			seen <- struct{}{}
		default:
			if time.Until(p.deadline) <= 0 {
				t.Fatalf("woken %d times of %d, then not for 10 s", done, rounds)
			}
		}
	}
	wg.Wait()
}

var spin atomic.Int64

func TestWakesCountAsOneAndReachALaterWait(t *testing.T) {
	p := newPoller(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				p.Wake()
			}
		})
	}
	wg.Wait()
	var events [4]Event
	if n, err := p.Wait(events[:], time.Time{}); n != 0 || err != nil {
		t.Errorf("Wait after wakes: %d events, %v", n, err)
	}
	start := time.Now()
	if _, err := p.Wait(events[:], in(20*time.Millisecond)); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Errorf("the second Wait returned after %v, %v: the wakes were one", time.Since(start), err)
	}
}

func TestWakeAfterCloseDoesNothing(t *testing.T) {
	p, err := New()
	must(t, err)
	must(t, p.Close())
	must(t, p.Close())
	p.Wake()
}

// TestIdleWaitPinsNoThread finds the waiting goroutine parked in the runtime's
// poller (a blocking epoll_wait would show as "syscall"), and no CPU used.
func TestIdleWaitPinsNoThread(t *testing.T) {
	p := newPoller(t)
	for range 500 {
		a, _ := pair(t)
		must(t, p.Add(a, MakeToken(a, 0), ForRead))
	}
	done := make(chan error)
	go func() {
		var events [4]Event
		_, err := p.Wait(events[:], time.Time{})
		done <- err
	}()
	parked := func() bool {
		buf := make([]byte, 1<<16)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "poll.(*Poller).Wait") {
				return strings.Contains(g, "[IO wait")
			}
		}
		return false
	}
	for deadline := time.Now().Add(5 * time.Second); !parked(); {
		if time.Now().After(deadline) {
			t.Fatal("Wait does not park in the runtime's poller")
		}
		time.Sleep(time.Millisecond)
	}
	before := cpu(t)
	time.Sleep(500 * time.Millisecond)
	if used := cpu(t) - before; used > 50*time.Millisecond {
		t.Errorf("an idle process used %v of CPU in 500ms", used)
	}
	p.Wake()
	must(t, <-done)
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var ru unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &ru))
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// TestNoReadinessIsLost writes to random ones of thousands of sockets, with
// pauses so that the owner parks again and again, and counts every byte in.
func TestNoReadinessIsLost(t *testing.T) {
	const sockets, writers, writes = 3000, 4, 15_000
	raiseDescriptorLimit(t, 2*sockets+100)
	p := newPoller(t)
	peers := make([]int, sockets)
	for i := range peers {
		a, b := pair(t)
		peers[i] = b
		must(t, p.Add(a, MakeToken(a, 1), ForRead))
	}
	var wg sync.WaitGroup
	for w := range writers {
		rng := rand.New(rand.NewPCG(uint64(w), 1))
		wg.Go(func() { writeAtRandom(t, rng, peers, writes, p) })
	}
	events, buf, got := make([]Event, 64), make([]byte, 3), 0 // small: leaves events and bytes behind
	for got < writers*writes {
		n, err := p.Wait(events, in(10*time.Second))
		must(t, err)
		if n == 0 && time.Until(p.deadline) <= 0 {
			t.Fatalf("%d of %d bytes after 10 s of silence", got, writers*writes)
		}
		for _, ev := range events[:n] {
			n, err := Read(ev.Token.FD(), buf)
			if err != nil || ev.Token.Generation() != 1 {
				t.Fatalf("event %+v: read %d, %v", ev, n, err)
			}
			got += n
		}
	}
	wg.Wait()
}

func writeAtRandom(t *testing.T, rng *rand.Rand, peers []int, writes int, p *Poller) {
	for i := range writes {
		if _, err := Write(peers[rng.IntN(len(peers))], []byte{1}); err != nil {
			t.Errorf("write: %v", err)
			return
		}
		switch {
		case i%500 == 0:
			time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
		case i%7 == 0:
			runtime.Gosched()
		case i%101 == 0:
			p.Wake()
		}
	}
}

func raiseDescriptorLimit(t *testing.T, want uint64) {
	t.Helper()
	var lim unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &lim))
	if lim.Cur < want {
		lim.Cur = min(want, lim.Max)
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &lim))
	}
}

func TestWaitDoesNotAllocate(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	must(t, p.Add(a, MakeToken(a, 0), ForRead))
	var events [4]Event
	buf := make([]byte, 8)
	deadline := in(time.Minute)
	if allocs := testing.AllocsPerRun(200, func() {
		_, _ = Write(b, buf[:1])
		n, err := p.Wait(events[:], deadline)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		_, _ = Read(a, buf)
	}); allocs != 0 {
		t.Errorf("%v allocations per event", allocs)
	}
	if allocs := testing.AllocsPerRun(200, func() {
		p.Wake()
		if _, err := p.Wait(events[:], deadline); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations per wake", allocs)
	}
}

func BenchmarkWaitReady(b *testing.B) {
	p := newPoller(b)
	x, y := pair(b)
	must(b, p.Add(x, MakeToken(x, 0), ForRead))
	_, err := Write(y, []byte("x"))
	must(b, err)
	events := make([]Event, 64)
	for b.Loop() {
		if _, err := p.Wait(events, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParkAndWake is the whole way of a wake from another goroutine to a
// parked owner and back.
func BenchmarkParkAndWake(b *testing.B) {
	p := newPoller(b)
	back := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		events := make([]Event, 64)
		for {
			_, _ = p.Wait(events, time.Time{})
			select {
			case back <- struct{}{}:
			case <-stop:
				close(back)
				return
			}
		}
	}()
	for b.Loop() {
		p.Wake()
		<-back
	}
	close(stop)
	p.Wake()
	<-back
}
