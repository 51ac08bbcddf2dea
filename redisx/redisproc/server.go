package redisproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNotInstalled marks that a program of Redis is not on the PATH. The error
// that wraps it says how to install it.
var ErrNotInstalled = errors.New("not installed")

// ServerOptions describe one Redis or Sentinel process. The zero value is a
// memory-only server on a free port of 127.0.0.1 that dies with this process.
type ServerOptions struct {
	// Name is used for files and messages; empty: "redis-PORT".
	Name string
	// Host is the address to listen on; empty: 127.0.0.1.
	Host string
	// Port to listen on; 0: a free one outside the ephemeral range.
	Port int
	// Dir receives the configuration, the log and the pid file. Empty: a
	// temporary directory that is removed when the process has been killed.
	Dir string
	// User and Password that clients must give. An empty User with a Password
	// is the default user's; both empty: no authentication.
	User, Password string
	// TLS makes the server listen with TLS only; nil: plain TCP only.
	TLS *TLS
	// ReplicaOf is the host:port to replicate from; empty: a master.
	ReplicaOf string
	// Detach leaves the process running when this one ends, and writes
	// NAME.pid into Dir, which must then be given. See StopDetached.
	Detach bool
	// Config are further lines of the configuration file.
	Config []string
	// Proxied puts a Proxy before a server, through which everybody reaches
	// it, Sentinels and replicas too: Addr and Port are the proxy's, and only
	// Client goes round it. Sentinels are not proxied.
	Proxied bool
	// Under is a command to start the process under, such as nsenter with its
	// arguments; it must become the process, not stay its parent.
	Under []string

	announce int // the proxy's port; 0: none
}

// TLS names the PEM files that a server serves and checks its peers with.
type TLS struct{ CA, Cert, Key string }

// Server is one running process. Its methods may be called from any goroutine.
type Server struct {
	opts    ServerOptions
	program string
	tempDir bool
	proxy   *Proxy // nil when it is not proxied

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// StartServer starts a redis-server and returns when it answers; ctx
// bounds only that wait. The caller kills it.
func StartServer(ctx context.Context, o ServerOptions) (*Server, error) {
	return start(ctx, "redis-server", o, serverConfig)
}

const startAttempts = 5

// start runs program with the configuration that config builds. A free port
// may be taken by another between our look and the server's, so that a start
// on a port of our choosing is tried again elsewhere.
func start(ctx context.Context, program string, o ServerOptions, config func(ServerOptions) []string) (*Server, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("%s: %w: apt-get install redis-server redis-sentinel", program, ErrNotInstalled)
	}
	choose := o.Port == 0
	var err error
	for range startAttempts {
		if choose {
			if o.Port, err = FreePort(ctx, o.Host); err != nil {
				return nil, err
			}
		}
		var s *Server
		if s, err = startOnce(ctx, program, o, config); err == nil {
			return s, nil
		}
		if !choose || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func startOnce(ctx context.Context, program string, o ServerOptions, config func(ServerOptions) []string) (*Server, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("%s-%d", program, o.Port)
	}
	s := &Server{opts: o, program: program}
	if o.Proxied && program == serverProgram {
		if err := s.proxied(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.prepare(config); err != nil {
		s.Kill()
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// proxied starts the proxy on the port of the options, and chooses another for
// the server itself.
func (s *Server) proxied(ctx context.Context) (err error) {
	s.opts.announce = s.opts.Port
	if s.opts.Port, err = FreePort(ctx, s.opts.Host); err != nil {
		return err
	}
	s.proxy, err = StartProxy(ctx, net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.announce)), s.direct())
	return err
}

// prepare makes the directory, if there is none, and the configuration.
func (s *Server) prepare(config func(ServerOptions) []string) error {
	if o := s.opts; o.Dir == "" {
		if o.Detach {
			return fmt.Errorf("start %s: a detached process needs a Dir", o.Name)
		}
		dir, err := os.MkdirTemp("", "homing-redis-")
		if err != nil {
			return fmt.Errorf("start %s: %w", o.Name, err)
		}
		s.opts.Dir, s.tempDir = dir, true
	}
	return s.writeConfig(config(s.opts))
}

func (s *Server) file(ext string) string { return filepath.Join(s.opts.Dir, s.opts.Name+ext) }

// writeConfig writes the file readable to us alone: it may hold a password.
func (s *Server) writeConfig(lines []string) error {
	var b []byte
	for _, l := range append(lines, s.opts.Config...) {
		b = append(append(b, l...), '\n')
	}
	if err := os.WriteFile(s.file(".conf"), b, 0o600); err != nil {
		return fmt.Errorf("configure %s: %w", s.opts.Name, err)
	}
	return nil
}

// run starts the process and waits until it answers, has died, or ctx ends.
func (s *Server) run(ctx context.Context) error {
	out, err := os.OpenFile(s.file(".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.opts.Name, err)
	}
	defer out.Close()
	argv := append(slices.Clone(s.opts.Under), s.program, s.file(".conf"))
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it outlives the call that starts it; the caller chooses what it runs under
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, s.opts.Dir
	if s.opts.Detach {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	} else {
		// A group of its own, so that the terminal's Ctrl-C leaves it to us.
		// The death signal comes when the thread that starts it ends, which
		// in Go is at the end of the process, unless the calling goroutine
		// has locked its thread.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.opts.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	if s.opts.Detach {
		pid := strconv.Itoa(cmd.Process.Pid) + "\n"
		if err := os.WriteFile(s.file(".pid"), []byte(pid), 0o600); err != nil {
			return fmt.Errorf("start %s: %w", s.opts.Name, err)
		}
	}
	return s.waitAnswer(ctx, exited)
}

var errOther = errors.New("another process has the port")

const pollInterval = 10 * time.Millisecond

func (s *Server) waitAnswer(ctx context.Context, exited <-chan struct{}) error {
	client := s.Client()
	defer client.Close()
	self := fmt.Sprintf("process_id:%d\r\n", s.PID())
	for {
		info, err := client.Info(ctx, "server").Result()
		if err == nil && strings.Contains(info, self) {
			return nil
		}
		// An answer of another process means that ours is about to find the
		// port taken, and exit.
		select {
		case <-exited:
			return fmt.Errorf("start %s: it exited: %s", s.opts.Name, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w; last answer: %w", s.opts.Name, ctx.Err(), cmp.Or(err, errOther))
		case <-time.After(pollInterval):
		}
	}
}

// logTail is the end of what the process logged, for error messages.
func (s *Server) logTail() string {
	f, err := os.Open(s.file(".log"))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-500), io.SeekStart) // the whole file serves as well
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// Name is the name in the options, or the one made from the port.
func (s *Server) Name() string { return s.opts.Name }

// Addr is the host:port to reach the process at: its proxy's if it has one.
func (s *Server) Addr() string {
	if s.proxy != nil {
		return s.proxy.Addr()
	}
	return s.direct()
}

// Proxy is the proxy before the process, nil when it is not Proxied.
func (s *Server) Proxy() *Proxy { return s.proxy }

// direct is the host:port that the process listens on.
func (s *Server) direct() string {
	return net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port))
}

// PID is the operating system's id of the last process started.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Exited is closed when the last process started has ended.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}
