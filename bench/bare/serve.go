package bare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/homing/homing/bench/child"
	"github.com/homing/homing/bench/clients"
)

// The calls that a process answers.
const (
	callListen  = "listen"  // replies with the URL that clients connect to
	callPrepare = "prepare" // takes a Load, replies with the number of its clients held here
	callWrite   = "write"   // takes the schedule's start, replies with a Result
)

// server is one process's state.
type server struct {
	ln   net.Listener
	turn *turns // what callPrepare prepared

	mu  sync.Mutex
	fds map[int]int // the clients' sockets, by their number in the plan
}

// Serve is what a helper process does: it answers calls from in on out, until
// in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s := &server{ln: ln, fds: make(map[int]int)}
	var accepting sync.WaitGroup
	accepting.Go(s.accept)
	for r := range child.Requests(in, out) {
		if err := s.do(ctx, r); err != nil {
			r.Fail(err)
		}
	}
	ln.Close()
	accepting.Wait()
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	return nil
}

func (s *server) do(ctx context.Context, r child.Request) error {
	switch r.Do {
	case callListen:
		r.Reply("ws://" + s.ln.Addr().String() + "/ws")
		return nil
	case callPrepare:
		var l Load
		if err := r.Read(&l); err != nil {
			return err
		}
		fds, held := s.descriptors(l.Plan.Conns)
		s.turn = prepare(l, fds)
		r.Reply(held)
		return nil
	case callWrite:
		return s.write(ctx, r)
	default:
		return fmt.Errorf("unknown call %q", r.Do)
	}
}

func (s *server) write(ctx context.Context, r child.Request) error {
	var start time.Time
	if err := r.Read(&start); err != nil {
		return err
	}
	if s.turn == nil {
		return errors.New("nothing prepared")
	}
	res := s.turn.write(ctx, start)
	r.Reply(res)
	return nil
}

// accept upgrades clients until the listener is closed; several at a time,
// so that one that stalls holds up nobody.
func (s *server) accept() {
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	for {
		c, err := s.ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, most likely: the client's patience ends first
			time.Sleep(10 * time.Millisecond)
			continue
		}
		handshakes.Go(func() { s.welcome(c) })
	}
}

// welcome shakes hands, keeps the bare descriptor and says hello.
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
	fd, err := duplicate(c.(*net.TCPConn)) // c itself is closed on return
	if err != nil {
		return
	}
	s.keep(client, fd)
	hello := ws.NewTextFrame([]byte(`{"t":"hello","user":"","conn":"","ping":0}`))
	_ = ws.WriteFrame(c, hello) // a client that is gone by now is missed when frames do not arrive
}

// keep takes a client's socket in place of an earlier one.
func (s *server) keep(client, fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.fds[client]; ok {
		_ = unix.Close(old)
	}
	s.fds[client] = fd
}

// duplicate returns a descriptor of the socket that the runtime does not know.
func duplicate(c *net.TCPConn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("get a descriptor: %w", err)
	}
	if e := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return -1, fmt.Errorf("get a descriptor: %w", e)
	}
	return fd, err
}

// clientOf reads a client's number from the token in its request.
func clientOf(uri string) (int, error) {
	u, err := url.ParseRequestURI(uri)
	if err == nil {
		if n, ok := clients.Number(u.Query().Get("token")); ok {
			return n, nil
		}
	}
	return 0, ws.RejectConnectionError(ws.RejectionStatus(http.StatusUnauthorized))
}

// absent stands for the descriptor of a client that another process holds.
const absent = -1

// descriptors returns the sockets of clients 0 up to and without n, and how
// many of them are held here.
func (s *server) descriptors(n int) (fds []int32, held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds = make([]int32, n)
	for i := range fds {
		fd, ok := s.fds[i]
		if !ok {
			fds[i] = absent
			continue
		}
		fds[i] = int32(fd)
		held++
	}
	return fds, held
}
