package logsink

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader is the other end: it takes what it is given, or refuses it, or has
// the writer wait.
type reader struct {
	mu     sync.Mutex
	got    bytes.Buffer
	writes int
	err    error
	take   int           // bytes taken of a write that is refused
	gate   chan struct{} // not nil: writes wait until it is closed
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	if gate != nil {
		<-gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes++
	if r.err != nil {
		n := min(r.take, len(p))
		r.got.Write(p[:n])
		return n, r.err
	}
	return r.got.Write(p)
}

func (r *reader) set(err error, take int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.take = err, take
}

func (r *reader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func note(l Loss) []byte { return fmt.Appendf(nil, "lost %d\n", l.Lines) }

func (s *Sink) droppedFor(t *testing.T, why reason) int {
	t.Helper()
	var m dto.Metric
	if err := s.metrics.dropped.WithLabelValues(string(why)).Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetCounter().GetValue())
}

func say(s *Sink, text string) { _, _ = s.Write([]byte(text)) }

func TestLinesComeOutInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{}
		s := New(r, Options{Note: note})
		var want strings.Builder
		for i := range 1000 {
			line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%300))
			want.WriteString(line)
			say(s, line)
			if i%100 == 0 {
				synctest.Wait()
			}
		}
		if !s.Close(time.Second) || r.text() != want.String() {
			t.Errorf("%d bytes came out, want %d in order", len(r.text()), want.Len())
		}
	})
}

func TestAReaderThatStopsBlocksNobodyAndIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := &reader{gate: gate}
		s := New(r, Options{Bytes: 40, Note: note})
		for range 10 {
			say(s, "12345678\n") // 9 bytes: four of them fit
			synctest.Wait()
		}
		if n := s.droppedFor(t, reasonFull); n != 6 {
			t.Errorf("%d lines dropped, want 6", n)
		}
		close(gate)
		synctest.Wait()
		if got, want := r.text(), strings.Repeat("12345678\n", 4)+"lost 6\n"; got != want {
			t.Errorf("read %q, want %q", got, want)
		}
		say(s, "after\n")
		synctest.Wait()
		if got := r.text(); !strings.HasSuffix(got, "lost 6\nafter\n") {
			t.Errorf("read %q: want the next line, and no second note", got)
		}
		s.Close(time.Second)
	})
}

func TestAReaderThatIsGoneIsCountedAndANewOneIsTold(t *testing.T) {
	for err, why := range map[error]reason{
		syscall.EPIPE: reasonBroken, syscall.ENOSPC: reasonSpace, syscall.EIO: reasonFailed,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &reader{err: &os.PathError{Op: "write", Path: "|1", Err: err}}
			s := New(r, Options{Note: note})
			for range 3 {
				say(s, "nobody\n")
				synctest.Wait()
			}
			if n := s.droppedFor(t, why); n != 3 {
				t.Errorf("%v: %d lines dropped as %s, want 3", err, n, why)
			}
			before := r.writes
			time.Sleep(time.Minute)
			if r.writes != before {
				t.Errorf("%v: %d writes though there was no line", err, r.writes-before)
			}
			r.set(nil, 0)
			say(s, "hello\n")
			synctest.Wait()
			if got, want := r.text(), "lost 3\nhello\n"; got != want {
				t.Errorf("%v: read %q, want %q", err, got, want)
			}
			s.Close(time.Second)
		})
	}
}

func TestAWriteThatBreaksOffDoesNotTearTheNextLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{err: syscall.ENOSPC, take: 9}
		s := New(r, Options{Note: note})
		say(s, "first\nsecond\nthird\n")
		synctest.Wait()
		r.set(nil, 0)
		say(s, "next\n")
		synctest.Wait()
		// Of the first write "first\nsec" went through.
		if got, want := r.text(), "first\nsec\nlost 2\nnext\n"; got != want {
			t.Errorf("read %q, want %q", got, want)
		}
		s.Close(time.Second)
	})
}

func TestADescriptorWithoutRoomIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{err: syscall.EAGAIN, take: 3}
		s := New(r, Options{Note: note})
		say(s, "one line\n")
		time.Sleep(againPause / 2)
		r.set(syscall.EAGAIN, 0)
		time.Sleep(time.Minute)
		r.set(nil, 0)
		time.Sleep(time.Second)
		if got, want := r.text(), "one line\n"; got != want {
			t.Errorf("read %q, want %q", got, want)
		}
		r.set(syscall.EAGAIN, 0)
		say(s, "the last\n")
		began := time.Now()
		if s.Close(time.Second) || time.Since(began) != time.Second {
			t.Errorf("closed after %v, want not finished after 1s", time.Since(began))
		}
		synctest.Wait()
		if n := s.droppedFor(t, reasonClosed); n != 1 {
			t.Errorf("%d lines dropped at the end, want 1", n)
		}
	})
}

func TestCloseFlushesWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := &reader{gate: gate}
		s := New(r, Options{Note: note})
		say(s, "waits\n")
		began := time.Now()
		if s.Close(time.Second) || time.Since(began) != time.Second {
			t.Errorf("closed after %v, want not finished after 1s", time.Since(began))
		}
		say(s, "too late\n")
		if n := s.droppedFor(t, reasonClosed); n != 1 {
			t.Errorf("%d lines dropped after the end, want 1", n)
		}
		close(gate)
	})
	s := New(&reader{}, Options{})
	if !s.Close(time.Second) {
		t.Error("a sink without a line did not close")
	}
}

// TestLinesOfSeveralProcessesAreNotTorn has two sinks share one pipe, as a
// master and its worker do.
func TestLinesOfSeveralProcessesAreNotTorn(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	const each = 20000
	var writers sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		fd, err := unix.Dup(int(in.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), name)
		s := New(f, Options{Bytes: 1 << 30, Note: note})
		writers.Go(func() {
			defer f.Close()
			for i := range each {
				say(s, strings.Repeat(name, 1+i*7%200)+"\n")
			}
			if !s.Close(time.Minute) {
				t.Error("not everything was read within a minute")
			}
		})
	}
	go func() { writers.Wait(); in.Close() }()
	var got bytes.Buffer
	if _, err := got.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(got.String()) {
		count++
		if strings.Trim(line, "a") != "\n" && strings.Trim(line, "b") != "\n" {
			t.Fatalf("torn line %q", line)
		}
	}
	if count != 2*each {
		t.Errorf("%d lines, want %d", count, 2*each)
	}
}

func TestChunksEndAtLineEnds(t *testing.T) {
	long := strings.Repeat("y", 3*maxChunk)
	for _, c := range []struct {
		in   string
		want int
	}{
		{"a\n", 2},
		{"a\nb", 3},
		{strings.Repeat("x", maxChunk-2) + "\nnext line\n", maxChunk - 1},
		{long + "\nnext\n", len(long) + 1},
		{long, len(long)},
	} {
		if got := chunkEnd([]byte(c.in)); got != c.want {
			t.Errorf("the first chunk of %d bytes has %d, want %d", len(c.in), got, c.want)
		}
	}
}

// TestAFullDisk has the kernel's own.
func TestAFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := New(f, Options{Note: note})
	for range 100 {
		say(s, "a line\n")
	}
	if !s.Close(10 * time.Second) {
		t.Error("not done with a full disk after 10s")
	}
	if n := s.droppedFor(t, reasonSpace); n != 100 {
		t.Errorf("%d lines dropped for want of space, want 100", n)
	}
}

func TestErrorsHaveAReason(t *testing.T) {
	if got := reasonOf(errors.New("something else")); got != reasonFailed {
		t.Errorf("another error is %q", got)
	}
}
