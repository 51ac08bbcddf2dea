package bare

import (
	"context"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/clients"
	"github.com/homing/homing/bench/usage"
)

// turns is a load made ready: whom each notification goes to is drawn before
// the clock runs, so that only waiting, rendering and writing are measured.
type turns struct {
	load Load
	n    uint32  // notifications of the whole schedule
	fds  []int32 // the sockets to write to, of all notifications, in order
	end  []int   // by notification: where its sockets end in fds; with Broadcast, nil: all of fds
}

// prepare draws a load's targets among fds, the clients' descriptors.
func prepare(l Load, fds []int32) *turns {
	t := &turns{load: l, n: uint32(math.Round(l.Duration.Seconds() * l.Rate))}
	if l.Broadcast {
		t.fds = slices.DeleteFunc(fds, func(fd int32) bool { return fd == absent })
		return t
	}
	picker, users := clients.NewPicker(l.Plan), []int32(nil)
	t.end = make([]int, t.n)
	for n := range t.n {
		users = picker.Online(n, users[:0])
		for _, u := range users {
			if fds[u] != absent {
				t.fds = append(t.fds, fds[u])
			}
		}
		t.end[n] = len(t.fds)
	}
	return t
}

// of returns the sockets of notification n.
func (t *turns) of(n uint32) []int32 {
	switch {
	case t.load.Broadcast:
		return t.fds
	case n == 0:
		return t.fds[:t.end[0]]
	default:
		return t.fds[t.end[n-1]:t.end[n]]
	}
}

// write runs the schedule from start, until it or ctx ends.
func (t *turns) write(ctx context.Context, start time.Time) Result {
	time.Sleep(time.Until(start))
	cpu, res := usage.Own(), Result{}
	for ; res.Notifications < t.n && ctx.Err() == nil; res.Notifications++ {
		fds := t.of(res.Notifications)
		if len(fds) == 0 {
			continue // a process that holds none of them is not even woken
		}
		due := start.Add(time.Duration(float64(res.Notifications) / t.load.Rate * float64(time.Second)))
		sleepUntil(due)
		frame := render(due, res.Notifications, t.load.Payload)
		for _, fd := range fds {
			if send(fd, frame) {
				res.Written++
			} else {
				res.Full++
			}
		}
	}
	res.CPU, res.Took = usage.Own()-cpu, time.Since(start)
	return res
}

// longSleep is from when on a sleep is left to the Go scheduler, which
// disturbs a thread that it has not heard of for so long.
const longSleep = 10 * time.Millisecond

// sleepUntil sleeps, a short while without telling the Go scheduler: to park a
// goroutine for it costs as much as several writes, because threads wake up to
// look for other work.
func sleepUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		if d > longSleep {
			time.Sleep(d - longSleep)
			continue
		}
		ts := unix.NsecToTimespec(d.Nanoseconds())
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0) //nolint:gosec // a signal ends it early: the loop goes on
	}
}

// send writes a frame in one system call that the Go scheduler does not hear
// of, because it does not block. It reports whether the kernel took all of it;
// when it took a part, the client sees a broken stream.
func send(fd int32, p []byte) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // the bytes of a frame that lives until the call returns
	return errno == 0 && int(n) == len(p)
}

// render is one notification as a front writes it: the same text, the same
// length of id, one frame.
func render(due time.Time, n uint32, payload int) []byte {
	text := []byte(`{"t":"notify","id":"01BX5ZZKBKACTAV9WEVGEMMVRZ","type":"bench","data":`)
	text = clients.AppendData(text, due.UnixNano(), n, payload)
	return ws.MustCompileFrame(ws.NewTextFrame(append(text, '}')))
}
