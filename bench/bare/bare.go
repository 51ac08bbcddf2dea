// Package bare is the limit that Homing is measured against: a program that
// writes the bytes of a notification to sockets with nothing around it, no
// look-up, no Redis, no queue. No program that serves the same clients can do
// better than this one by much.
package bare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/bees"
	"github.com/homing/homing/bench/child"
)

// Load is what to write.
type Load struct {
	Plan     bees.Plan     // Plan.Conns clients are connected; only Online matters of the rest
	Rate     float64       // notifications a second, each to Plan.Online sockets
	Duration time.Duration // of the writing
	Payload  int           // bytes of a notification's data
}

// Result is what it took.
type Result struct {
	Notifications uint32        // sent: 0 up to and without this
	Written       int           // frames taken by the kernel
	Full          int           // frames that it would not take
	CPU           time.Duration // user and system time of the writing
	Took          time.Duration
}

// server is the helper's state.
type server struct {
	ln    net.Listener
	mu    sync.Mutex
	conns map[int]*os.File // the clients' sockets, by their number in the plan
}

// Serve is what the helper process does: it answers the calls "listen" and
// "flood" from in on out, until in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := &server{ln: ln, conns: make(map[int]*os.File)}
	var accepting sync.WaitGroup
	accepting.Go(s.accept)
	defer accepting.Wait()
	defer s.close()
	for r := range child.Requests(in, out) {
		if err := s.do(ctx, r); err != nil {
			r.Fail(err)
		}
	}
	return nil
}

func (s *server) close() {
	s.ln.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *server) do(ctx context.Context, r child.Request) error {
	switch r.Do {
	case "listen":
		r.Reply("ws://" + s.ln.Addr().String() + "/ws")
		return nil
	case "flood":
		var l Load
		if err := r.Read(&l); err != nil {
			return err
		}
		res, err := s.flood(ctx, l)
		if err == nil {
			r.Reply(res)
		}
		return err
	default:
		return fmt.Errorf("unknown call %q", r.Do)
	}
}

// accept upgrades clients until the listener is closed; several at a time,
// so that one that stalls holds up nobody.
func (s *server) accept() {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		handshakes.Go(func() { s.welcome(c) })
	}
}

// welcome shakes hands, says hello and keeps the bare descriptor.
func (s *server) welcome(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var client int
	u := ws.Upgrader{
		Protocol: func(p []byte) bool { return string(p) == "homing.v1" },
		OnRequest: func(uri []byte) (err error) {
			client, err = clientOf(string(uri))
			return err
		},
	}
	if _, err := u.Upgrade(c); err != nil {
		return
	}
	f, err := c.(*net.TCPConn).File() // a duplicate; c itself is closed on return
	if err != nil {
		return
	}
	s.mu.Lock()
	s.conns[client] = f
	s.mu.Unlock()
	hello := ws.NewTextFrame([]byte(`{"t":"hello","user":"","conn":"","ping":0}`))
	_ = ws.WriteFrame(c, hello) // a client that is gone by now is missed when frames do not arrive
}

// clientOf reads a client's number from the token in its request.
func clientOf(uri string) (int, error) {
	u, err := url.ParseRequestURI(uri)
	if err == nil {
		if n, ok := bees.Number(u.Query().Get("token")); ok {
			return n, nil
		}
	}
	return 0, ws.RejectConnectionError(ws.RejectionStatus(http.StatusUnauthorized))
}

var errTooFew = errors.New("fewer clients than planned")

// flood writes on an open-loop schedule.
func (s *server) flood(ctx context.Context, l Load) (Result, error) {
	fds, err := s.descriptors(l.Plan.Conns)
	if err != nil {
		return Result{}, err
	}
	picker, users := bees.NewPicker(l.Plan), []int32(nil)
	cpu, start := processCPU(), time.Now()
	var res Result
	for ctx.Err() == nil {
		due := start.Add(time.Duration(float64(res.Notifications) / l.Rate * float64(time.Second)))
		if due.Sub(start) >= l.Duration {
			break
		}
		time.Sleep(time.Until(due))
		users = picker.Online(res.Notifications, users[:0])
		res.write(fds, users, render(due, res.Notifications, l.Payload))
		res.Notifications++
	}
	res.CPU, res.Took = processCPU()-cpu, time.Since(start)
	return res, ctx.Err()
}

// descriptors returns the sockets of clients 0 up to and without n.
func (s *server) descriptors(n int) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := make([]int, n)
	for i := range fds {
		c := s.conns[i]
		if c == nil {
			return nil, fmt.Errorf("%w: %d of %d", errTooFew, len(s.conns), n)
		}
		fds[i] = int(c.Fd())
	}
	return fds, nil
}

func (res *Result) write(fds []int, users []int32, frame []byte) {
	for _, u := range users {
		if _, err := unix.SendmsgN(fds[u], frame, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
			res.Full++
			continue
		}
		res.Written++
	}
}

// render is one notification as a front writes it: the same text, the same
// length of id, one frame.
func render(due time.Time, n uint32, payload int) []byte {
	text := []byte(`{"t":"notify","id":"01BX5ZZKBKACTAV9WEVGEMMVRZ","type":"bench","data":`)
	text = bees.AppendData(text, due.UnixNano(), n, payload)
	return ws.MustCompileFrame(ws.NewTextFrame(append(text, '}')))
}

// processCPU is the user and system time of this process so far.
func processCPU() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0 // the only errors are of the arguments
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
